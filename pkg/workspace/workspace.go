// Package workspace gives steps their files: a tree is unpacked once per host
// and digest, and every step gets a copy-on-write view of it that costs
// milliseconds.
//
// A view is three directories that the container engine mounts as an overlay:
// the tree below, and above it what the step changes. So no step sees or spoils
// another's files, nor the tree. What a step left is read from the outside, as
// the merge of both, without following a link and without trusting a name.
//
// A tree is there whole or not at all, whenever a process is killed. After the
// machine was restarted none is used, since nothing was synced to disk: a tree
// can always be had again.
package workspace

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/singleflight"
)

// Cache has the trees and views of one directory. It is safe for concurrent use,
// also by several processes.
type Cache struct {
	dir, engineDir string
	boot           string // of the machine
	marks          string // mount options for marks that we can read; "" = none are
	flight         singleflight.Group
}

// Names in a cache's directory.
const (
	trees   = "trees"
	views   = "views"
	pending = ".new-"
	gone    = ".old-"
	marker  = "complete" // in a tree's directory: the boot it was made in
	content = "tree"     // in a tree's directory: its files
)

// Open makes the directories. dir is their place as this process sees it,
// engineDir as the container engine does; "" is the same.
func Open(dir, engineDir string) (*Cache, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("workspace directory: %w", err)
	}
	if engineDir == "" {
		engineDir = dir
	}
	if !filepath.IsAbs(engineDir) || strings.ContainsAny(engineDir, `:,\`) {
		return nil, fmt.Errorf("workspace directory %q of the engine: it has to be absolute, without colon, comma and backslash", engineDir)
	}
	for _, name := range []string{trees, views} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o711); err != nil {
			return nil, fmt.Errorf("workspace directory: %w", err)
		}
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("workspace directory: %w", err)
	}
	return &Cache{dir: dir, engineDir: filepath.Clean(engineDir), boot: strings.TrimSpace(string(boot)), marks: readableMarks(dir)}, nil
}

// engine is how the engine sees a path below the cache's directory.
func (c *Cache) engine(name string) string {
	return filepath.Join(c.engineDir, strings.TrimPrefix(name, c.dir))
}

// temporary makes a directory that is locked for as long as the file that comes
// with it is open. Whoever finds one that is not locked may remove it.
func (c *Cache) temporary(under string) (dir string, lock *os.File, err error) {
	err = c.locked(func() error {
		if dir, err = os.MkdirTemp(filepath.Join(c.dir, under), pending); err != nil {
			return err
		}
		if lock, err = lockDir(dir); err != nil {
			return errors.Join(err, os.Remove(dir))
		}
		return nil
	})
	return dir, lock, err
}

// bury takes a directory out of sight at once, so that it can be removed
// slowly. It is called under the cache's lock.
func (c *Cache) bury(dir string) (string, error) {
	grave, err := os.MkdirTemp(filepath.Dir(dir), gone)
	if err != nil {
		return "", err
	}
	return grave, os.Rename(dir, filepath.Join(grave, "dir"))
}
