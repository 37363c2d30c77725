package main

import (
	"testing"
	"time"
)

// The pipeline runs these in several time zones: where the program runs must not matter.
func TestLeaves(t *testing.T) {
	tests := []struct{ at, want string }{
		{"2026-11-26T11:30:00+01:00", "2026-11-26"}, // a Thursday
		{"2026-11-26T14:59:59+01:00", "2026-11-26"},
		{"2026-11-26T15:00:00+01:00", "2026-11-27"},
		{"2026-11-27T15:00:00+01:00", "2026-11-30"}, // Friday afternoon
		{"2026-11-28T09:00:00+01:00", "2026-11-30"},
		{"2026-11-27T08:30:00+09:00", "2026-11-27"}, // in Berlin still Thursday, after closing
		{"2026-07-02T13:30:00Z", "2026-07-03"},      // 15:30 in summer
	}
	for _, tt := range tests {
		moment, err := time.Parse(time.RFC3339, tt.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := leaves(moment.Local()).Format(time.DateOnly); got != tt.want {
			t.Errorf("an order of %s leaves on %s, want %s", tt.at, got, tt.want)
		}
	}
}
