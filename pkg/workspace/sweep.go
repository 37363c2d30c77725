package workspace

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// idle is how long a tree is left alone after it was last asked for, so that who
// asked can make a view of it.
const idle = 10 * time.Minute

// orphaned is how long a view of a process that is gone is left alone: its
// container has to be found and removed first.
const orphaned = time.Hour

// Sweep removes trees that nobody asked for during the last keep, then the ones
// that were not asked for the longest until no more than bytes are left, and what
// killed processes left behind. Trees that have a view stay.
func (c *Cache) Sweep(keep time.Duration, bytes int64) error {
	var graves, rest []string
	err := c.locked(func() error {
		used, dead, err := c.sweepViews()
		if err != nil {
			return err
		}
		candidates, err := c.idleTrees(used)
		if err != nil {
			return err
		}
		if rest, err = c.leftovers(); err != nil {
			return err
		}
		for _, dir := range append(dead, surplus(candidates, keep, bytes)...) {
			grave, err := c.bury(dir)
			if err != nil {
				return err
			}
			graves = append(graves, grave)
		}
		return nil
	})
	for _, dir := range append(graves, rest...) {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	if err != nil {
		return fmt.Errorf("sweep workspaces: %w", err)
	}
	return nil
}

// sweepViews tells which trees have views, and which views are nobody's.
func (c *Cache) sweepViews() (used map[string]bool, dead []string, err error) {
	used = map[string]bool{}
	names, err := visible(filepath.Join(c.dir, views))
	for _, dir := range names {
		lower := filepath.Join(dir, "lower")
		info, err := os.Stat(lower)
		if err != nil {
			return nil, nil, err
		}
		if time.Since(info.ModTime()) > orphaned && !inUse(dir) {
			dead = append(dead, dir)
			continue
		}
		key, err := os.ReadFile(lower)
		if err != nil {
			return nil, nil, err
		}
		used[string(key)] = true
	}
	return used, dead, err
}

// cached is a tree that could go.
type cached struct {
	dir   string
	idle  time.Duration
	bytes int64
}

func (c *Cache) idleTrees(used map[string]bool) ([]cached, error) {
	var list []cached
	names, err := visible(filepath.Join(c.dir, trees))
	for _, dir := range names {
		if used[filepath.Base(dir)] {
			continue
		}
		info, err := os.Stat(filepath.Join(dir, marker))
		if err != nil {
			return nil, err
		}
		_, bytes, err := readMarker(dir)
		if err != nil {
			return nil, err
		}
		list = append(list, cached{dir: dir, idle: time.Since(info.ModTime()), bytes: bytes})
	}
	return list, err
}

// surplus picks the trees that have to go.
func surplus(list []cached, keep time.Duration, bytes int64) (dirs []string) {
	slices.SortFunc(list, func(a, b cached) int { return int(a.idle.Seconds() - b.idle.Seconds()) })
	for _, t := range list {
		if bytes -= t.bytes; t.idle > keep || bytes < 0 && t.idle > idle {
			dirs = append(dirs, t.dir)
		}
	}
	return dirs
}

// leftovers are directories that killed processes did not finish to make or to
// remove.
func (c *Cache) leftovers() (dirs []string, err error) {
	for _, under := range []string{trees, views} {
		found, globErr := filepath.Glob(filepath.Join(c.dir, under, ".*"))
		err = errors.Join(err, globErr)
		for _, dir := range found {
			if strings.HasPrefix(filepath.Base(dir), gone) || !inUse(dir) {
				dirs = append(dirs, dir)
			}
		}
	}
	return dirs, err
}

func inUse(dir string) bool {
	lock, err := lockDir(dir)
	if err != nil {
		return true // or not to be told
	}
	return lock.Close() != nil
}

func visible(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			names = append(names, filepath.Join(dir, e.Name()))
		}
	}
	return names, err
}
