package workspace_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSweep(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := openCache(t, dir)
	trees := filepath.Join(dir, "trees")
	name := func(n int) string { return fmt.Sprintf("%064x", n) }
	age := func(n int, d time.Duration) {
		at := time.Now().Add(-d)
		if err := os.Chtimes(filepath.Join(trees, name(n), "complete"), at, at); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 5 {
		treeOf(t, c, n, map[string]string{"a": strings.Repeat("1", 100)})
		age(n, time.Duration(n+1)*time.Hour)
	}
	v := viewOf(t, treeOf(t, c, 4, nil), "live")
	age(4, 100*time.Hour)
	if err := os.Mkdir(filepath.Join(trees, ".new-dead"), 0o700); err != nil {
		t.Fatal(err)
	}

	sweep := func(keep time.Duration, bytes int64, want ...string) {
		t.Helper()
		if err := c.Sweep(keep, bytes); err != nil {
			t.Fatal(err)
		}
		wantNames(t, trees, want...)
	}
	sweep(210*time.Minute, 1000, name(0), name(1), name(2), name(4)) // the oldest goes, but not the one with a view
	sweep(210*time.Minute, 200, name(0), name(1), name(4))           // and one that does not fit
	age(0, time.Minute)
	sweep(210*time.Minute, 0, name(0), name(4)) // somebody is about to use it
	if err := v.Remove(); err != nil {
		t.Fatal(err)
	}
	sweep(0, 0)
	wantNames(t, filepath.Join(dir, "views"))
}

// A view of a killed process goes when its container surely has gone.
func TestSweepOrphanedView(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := openCache(t, dir)
	v := viewOf(t, treeOf(t, c, 1, map[string]string{"a": "1"}), "live")
	orphan := filepath.Join(dir, "views", "orphan")
	young := filepath.Join(dir, "views", "young")
	for _, view := range []string{orphan, young} {
		if err := errors.Join(os.Mkdir(view, 0o700), os.WriteFile(filepath.Join(view, "lower"), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-2 * time.Hour)
	for _, view := range []string{orphan, filepath.Join(dir, "views", "live")} {
		if err := os.Chtimes(filepath.Join(view, "lower"), long, long); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Sweep(time.Hour, 1000); err != nil {
		t.Fatal(err)
	}
	wantNames(t, filepath.Join(dir, "views"), "live", "young")
	if err := v.Remove(); err != nil {
		t.Error(err)
	}
}
