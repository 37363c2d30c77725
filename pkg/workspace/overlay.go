package workspace

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// An overlay hides a name of the tree below by a character device 0/0 of the
// same name, and all that is in a directory below by an attribute of the
// directory above. That attribute is one of trusted.overlay.*, which only
// CAP_SYS_ADMIN can read, or with the option userxattr one of user.overlay.*,
// which the overlay in turn keeps from being set through it.
const (
	opaque      = ".overlay.opaque"
	redirected  = "trusted.overlay.redirect"
	withoutData = "trusted.overlay.metacopy"
)

// readableMarks are the mount options by which the marks of an overlay in dir
// can be read by this process. Neither redirects nor files without data are
// made under them, which only the kernel can follow.
func readableMarks(dir string) string {
	test := func(attribute string) bool {
		defer func() { _ = unix.Removexattr(dir, attribute) }()
		return unix.Setxattr(dir, attribute, []byte("y"), 0) == nil
	}
	switch {
	case since(5, 11) && test("user.millrace.test"):
		return ",userxattr"
	case test("trusted.millrace.test"):
		return ",redirect_dir=nofollow,metacopy=off"
	}
	return ""
}

func since(major, minor int) bool {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return false
	}
	var a, b int
	_, _ = fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &a, &b)
	return a > major || a == major && b >= minor
}

// merged is a directory of a view: what is there of it above and below; nil is
// nothing.
type merged struct {
	upper, lower *os.Root
}

// entry is one name of a merged directory.
type entry struct {
	info  fs.FileInfo
	above bool
	below fs.FileInfo // of a directory above that has one below it
}

// names lists a merged directory, sorted, without what is hidden.
func (m merged) names() ([]string, map[string]entry, error) {
	entries := map[string]entry{}
	if err := list(m.lower, func(name string, info fs.FileInfo) { entries[name] = entry{info: info} }); err != nil {
		return nil, nil, err
	}
	err := list(m.upper, func(name string, info fs.FileInfo) {
		below := entries[name].info
		switch {
		case whiteout(info):
			delete(entries, name)
		case info.IsDir() && below != nil && below.IsDir():
			entries[name] = entry{info: info, above: true, below: below}
		default:
			entries[name] = entry{info: info, above: true}
		}
	})
	return slices.Sorted(maps.Keys(entries)), entries, err
}

// enter opens a directory of the merge.
func (m merged) enter(name string, e entry) (merged, error) {
	if !e.above {
		lower, err := openDir(m.lower, name, e.info)
		return merged{lower: lower}, err
	}
	upper, err := openDir(m.upper, name, e.info)
	if err != nil {
		return merged{}, err
	}
	sub := merged{upper: upper}
	hides, err := hidesBelow(upper)
	if err == nil && e.below != nil && !hides {
		sub.lower, err = openDir(m.lower, name, e.below)
	}
	if err != nil {
		sub.Close()
		return merged{}, err
	}
	return sub, nil
}

// Close closes both directories.
func (m merged) Close() {
	for _, root := range []*os.Root{m.upper, m.lower} {
		if root != nil {
			_ = root.Close() // nothing is written by closing a directory
		}
	}
}

func list(root *os.Root, add func(string, fs.FileInfo)) error {
	if root == nil {
		return nil
	}
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		info, err := root.Lstat(name)
		if err != nil {
			return err
		}
		add(name, info)
	}
	return nil
}

// openDir opens what was seen to be a directory, and nothing that took its place.
func openDir(root *os.Root, name string, seen fs.FileInfo) (*os.Root, error) {
	sub, err := root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	info, err := sub.Stat(".")
	if err == nil && !os.SameFile(info, seen) {
		err = fmt.Errorf("directory %q was replaced while it was read", name)
	}
	if err != nil {
		return nil, errors.Join(err, sub.Close())
	}
	return sub, nil
}

func whiteout(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode()&fs.ModeCharDevice != 0 && stat.Rdev == 0
}

// hidesBelow tells whether a directory above hides the one below it.
func hidesBelow(root *os.Root) (bool, error) {
	dir, err := root.Open(".")
	if err != nil {
		return false, err
	}
	defer func() { _ = dir.Close() }()
	if attribute(dir, redirected) != "" {
		return false, fmt.Errorf("%s: the overlay was mounted with redirect_dir, use the view's options", dir.Name())
	}
	return attribute(dir, "user"+opaque) == "y" || attribute(dir, "trusted"+opaque) == "y", nil
}

// attribute is the value of an extended attribute, "" where there is none or
// none may be read.
func attribute(f *os.File, name string) string {
	var value [64]byte
	n, err := unix.Fgetxattr(int(f.Fd()), name, value[:])
	if err != nil && !errors.Is(err, unix.ERANGE) {
		return ""
	}
	if n <= 0 {
		return "?" // too long for any that we know
	}
	return string(value[:n])
}
