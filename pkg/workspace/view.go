package workspace

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/millrace-cd/millrace/pkg/archive"
)

var viewName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,126}$`)

// View is one step's copy-on-write view of a tree. The directories are named as
// the engine sees them.
type View struct {
	Lower, Upper, Work string
	UserXattr          bool // the overlay has to be mounted with userxattr

	tree *Tree
	dir  string
	lock *os.File
}

// View makes a view. Its name is a token of lower-case letters, digits and ._-,
// and there is no view of that name yet, not even of another process.
func (t *Tree) View(name string) (*View, error) {
	if !viewName.MatchString(name) {
		return nil, fmt.Errorf("make view %.80q: not a name of lower-case letters, digits and ._-", name)
	}
	v, err := t.view(name)
	if err != nil {
		return nil, fmt.Errorf("make view %s: %w", name, err)
	}
	return v, nil
}

func (t *Tree) view(name string) (*View, error) {
	c := t.cache
	if c.marks == "" {
		return nil, fmt.Errorf("overlays in %s cannot be read: that takes Linux 5.11 (on tmpfs 6.6) or CAP_SYS_ADMIN", c.dir)
	}
	fresh, lock, err := c.temporary(views)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(c.dir, views, name)
	err = t.furnish(fresh)
	if err == nil {
		err = os.Rename(fresh, dir)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(fresh), lock.Close())
	}
	return &View{
		Lower: c.engine(t.dir), Upper: c.engine(filepath.Join(dir, "upper")), Work: c.engine(filepath.Join(dir, "work")),
		UserXattr: strings.Contains(c.marks, "userxattr"),
		tree:      t, dir: dir, lock: lock,
	}, nil
}

// furnish makes what an overlay needs. The upper directory's mode is what the
// root of the view will have.
func (t *Tree) furnish(dir string) error {
	info, err := os.Stat(t.dir)
	if err != nil {
		return err
	}
	upper, work := filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	return errors.Join(
		os.Mkdir(upper, 0o700), os.Chmod(upper, info.Mode().Perm()),
		os.Mkdir(work, 0o700), os.Chmod(dir, 0o711), //nolint:gosec // the engine's users have to get in
		os.WriteFile(filepath.Join(dir, "lower"), []byte(t.key), 0o600),
	)
}

// Options are the mount options of the overlay: where it lies, and how it has to
// note what it hides so that [View.Files] can read it.
func (v *View) Options() string {
	return "lowerdir=" + v.Lower + ",upperdir=" + v.Upper + ",workdir=" + v.Work + v.tree.cache.marks
}

// Remove deletes the view. No container may use it any more.
func (v *View) Remove() error {
	c, gone := v.tree.cache, ""
	err := c.locked(func() (err error) {
		gone, err = c.bury(v.dir)
		return err
	})
	if err == nil {
		err = os.RemoveAll(gone)
	}
	if err := errors.Join(err, v.lock.Close()); err != nil {
		return fmt.Errorf("remove view %s: %w", filepath.Base(v.dir), err)
	}
	return nil
}

// Files lists what the globs match in the merge of the tree and of what the step
// did to it, sorted by path. A glob matches files, links, and directories with
// all that is in them; ** stands for any number of directories, and a slash at
// the end for all that is in a directory. Links are kept as links and not
// followed.
//
// Errors that wrap [archive.ErrRefused] are the step's fault: a glob that matches
// nothing, a device, pipe or socket among the matches, or more files than the
// limits allow. The limits of names, links and sizes are [archive.Pack]'s.
func (v *View) Files(globs []string, limits archive.Limits) ([]archive.Entry, error) {
	patterns, err := compile(globs)
	if err != nil {
		return nil, err
	}
	upper, err := os.OpenRoot(filepath.Join(v.dir, "upper"))
	if err != nil {
		return nil, fmt.Errorf("read view: %w", err)
	}
	defer func() { _ = upper.Close() }()
	lower, err := os.OpenRoot(v.tree.dir)
	if err != nil {
		return nil, fmt.Errorf("read view: %w", err)
	}
	defer func() { _ = lower.Close() }()
	w := &walk{view: v, patterns: patterns, limits: limits}
	if err := w.directory("", merged{upper: upper, lower: lower}, nil); err != nil {
		return nil, fmt.Errorf("read view: %w", err)
	}
	slices.SortFunc(w.entries, func(a, b archive.Entry) int { return strings.Compare(a.Path, b.Path) })
	return w.entries, patterns.unmatched()
}
