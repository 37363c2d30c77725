package main

import (
	"strings"
	"testing"
)

func TestUnknownCommand(t *testing.T) {
	err := run(t.Context(), []string{"migrat"}, "")
	if err == nil || !strings.Contains(err.Error(), `"migrat"`) {
		t.Errorf("got %v", err)
	}
}
