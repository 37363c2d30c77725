package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "dir")
	unlock, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = lock(dir)
	var p problem
	if !errors.As(err, &p) || !strings.Contains(p.Error(), fmt.Sprintf("in use by process %d", os.Getpid())) {
		t.Fatalf("the second lock: %v", err)
	}
	unlock()
	unlock, err = lock(dir)
	if err != nil {
		t.Fatalf("after the first was given up: %v", err)
	}
	unlock()
}
