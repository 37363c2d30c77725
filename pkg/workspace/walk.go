package workspace

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/millrace-cd/millrace/pkg/archive"
)

// maxVisited bounds the names that are looked at, whether they match or not.
const maxVisited = 1 << 20

// walk collects the matching files of a view.
type walk struct {
	view     *View
	patterns patterns
	limits   archive.Limits
	visited  int
	entries  []archive.Entry
}

// directory looks at all that is in one. inherited are the patterns that match
// it or a directory above it, and so all that is in it.
func (w *walk) directory(dir string, m merged, inherited patterns) error {
	if strings.Count(dir, "/") > w.limits.Depth {
		return fmt.Errorf("%w: %.200q is more than %d directories deep", archive.ErrRefused, dir, w.limits.Depth)
	}
	names, entries, err := m.names()
	if err != nil {
		return err
	}
	if w.visited += len(names); w.visited > maxVisited {
		return fmt.Errorf("%w: more than %d files to look at", archive.ErrRefused, maxVisited)
	}
	for _, name := range names {
		if err := w.entry(path.Join(dir, name), name, m, entries[name], inherited); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) entry(full, name string, m merged, e entry, inherited patterns) error {
	matching := slices.Concat(inherited, w.patterns.match(full, e.info.IsDir()))
	if e.info.IsDir() {
		if len(matching) == 0 && !w.patterns.reach(full) {
			return nil
		}
		sub, err := m.enter(name, e)
		if err != nil {
			return err
		}
		defer sub.Close()
		return w.directory(full, sub, matching)
	}
	if e.info.Mode().Type() == fs.ModeSymlink {
		w.patterns.blocked(full)
	}
	if len(matching) == 0 {
		return nil
	}
	for _, p := range matching {
		p.hit = true
	}
	return w.add(full, name, m, e)
}

func (w *walk) add(full, name string, m merged, e entry) error {
	if len(w.entries) >= w.limits.Entries {
		return fmt.Errorf("%w: more than %d files match", archive.ErrRefused, w.limits.Entries)
	}
	root, layer := m.lower, w.view.tree.dir
	if e.above {
		root, layer = m.upper, filepath.Join(w.view.dir, "upper")
	}
	found := archive.Entry{Path: full}
	switch e.info.Mode().Type() {
	case 0:
		found.Size, found.Executable = e.info.Size(), e.info.Mode()&0o111 != 0
		found.Open = func() (io.ReadCloser, error) { return openFile(layer, full, e.info) }
	case fs.ModeSymlink:
		target, err := root.Readlink(name)
		if err != nil {
			return err
		}
		found.Link = target
	default:
		return fmt.Errorf("%w: %.200q is neither a file nor a link: %s", archive.ErrRefused, full, e.info.Mode())
	}
	w.entries = append(w.entries, found)
	return nil
}

// openFile opens the file that was seen, and nothing that took its place.
func openFile(layer, name string, seen fs.FileInfo) (io.ReadCloser, error) {
	root, err := os.OpenRoot(layer)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe must not make us wait
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !os.SameFile(info, seen) || !info.Mode().IsRegular():
		err = fmt.Errorf("file %q was replaced while it was read", name)
	case attribute(f, withoutData) != "":
		err = fmt.Errorf("file %q: the overlay was mounted with metacopy, use the view's options", name)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
