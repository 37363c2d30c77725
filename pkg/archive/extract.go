package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// Access is who may write to what [Extract] makes.
type Access int

// The two answers.
const (
	Owner  Access = iota // files 0644 or 0755, directories 0755
	Anyone               // files 0666 or 0777, directories 0777
)

// maxPadding is how much may follow the end of a tar; GNU tar pads to 10 KiB.
const maxPadding = 1 << 20

// Extract fills root, which has to be empty, with the files of a tar and reads r
// to its end. Of a file's mode only "executable" is kept. What it wrote before
// it failed stays: extract into a directory that can be thrown away.
func Extract(r io.Reader, root *os.Root, limits Limits, access Access) (Stats, error) {
	x := &extraction{root: root, tree: newTree(limits), access: access, buffer: make([]byte, 64<<10)}
	defer x.leave()
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return x.stats, drain(r)
		}
		if err != nil {
			return x.stats, fmt.Errorf("read tar: %w", err)
		}
		if err := x.entry(h, tr); err != nil {
			return x.stats, err
		}
	}
}

// drain reads what follows the tar, so that a reader that checks a digest at its
// end gets to do so.
func drain(r io.Reader) error {
	n, err := io.Copy(io.Discard, io.LimitReader(r, maxPadding+1))
	if err != nil {
		return fmt.Errorf("read tar: %w", err)
	}
	if n > maxPadding {
		return fmt.Errorf("%w: more than %d bytes follow the tar", ErrRefused, maxPadding)
	}
	return nil
}

type extraction struct {
	root   *os.Root
	tree   *tree
	access Access
	stats  Stats
	buffer []byte

	// The directory of the last file, open: neighbours come one after another.
	in     string
	parent *os.Root
}

func (x *extraction) entry(h *tar.Header, content io.Reader) error {
	name, err := local(h)
	if err != nil || name == "." {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := x.tree.add(name, directory, "", 0); err != nil {
			return err
		}
		return x.enter(name)
	case tar.TypeReg:
		if err := x.tree.add(name, file, "", h.Size); err != nil {
			return err
		}
		return x.file(name, h, content)
	case tar.TypeSymlink:
		if err := x.tree.add(name, link, h.Linkname, 0); err != nil {
			return err
		}
		return x.link(name, h.Linkname)
	}
	return refuse(name, "an entry of type %q", h.Typeflag)
}

// local is the clean name of an entry. Docker and GNU tar write ./a and d/.
func local(h *tar.Header) (string, error) {
	name := path.Clean(h.Name)
	if h.Name == "" || path.IsAbs(h.Name) || climbs(name) {
		return "", refuse(h.Name, "the name leads out of the tree")
	}
	if name == "." && h.Typeflag != tar.TypeDir || strings.HasSuffix(h.Name, "/") && h.Typeflag != tar.TypeDir {
		return "", refuse(h.Name, "the name of a directory for something else")
	}
	return name, nil
}

func (x *extraction) file(name string, h *tar.Header, content io.Reader) error {
	if err := x.enter(path.Dir(name)); err != nil {
		return err
	}
	f, err := x.parent.OpenFile(path.Base(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("extract %q: %w", name, err)
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{f}, content, x.buffer)
	err = errors.Join(err, f.Chmod(x.mode(h.Mode&0o111 != 0)), f.Close())
	if err != nil {
		return fmt.Errorf("extract %q: %w", name, err)
	}
	x.stats.Files++
	x.stats.Bytes += n
	return nil
}

func (x *extraction) link(name, target string) error {
	if err := x.enter(path.Dir(name)); err != nil {
		return err
	}
	if err := x.parent.Symlink(target, path.Base(name)); err != nil {
		return fmt.Errorf("extract %q: %w", name, err)
	}
	x.stats.Files++
	return nil
}

// enter makes dir the open one. The tree has made sure that nothing on the way
// is a link.
func (x *extraction) enter(dir string) error {
	if x.parent != nil && x.in == dir {
		return nil
	}
	x.leave()
	if err := x.make(dir); err != nil {
		return fmt.Errorf("extract directory %q: %w", dir, err)
	}
	parent, err := x.root.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("extract directory %q: %w", dir, err)
	}
	x.in, x.parent = dir, parent
	return nil
}

// make is MkdirAll with a mode that no umask changes.
func (x *extraction) make(dir string) error {
	if dir == "." {
		return nil
	}
	err := x.root.Mkdir(dir, 0o700)
	if errors.Is(err, os.ErrNotExist) {
		if err := x.make(path.Dir(dir)); err != nil {
			return err
		}
		err = x.root.Mkdir(dir, 0o700)
	}
	switch {
	case errors.Is(err, os.ErrExist):
		return nil
	case err != nil:
		return err
	}
	return x.root.Chmod(dir, x.mode(true))
}

func (x *extraction) leave() {
	if x.parent != nil {
		_ = x.parent.Close() // a directory: nothing is written by closing it
		x.parent = nil
	}
}

func (x *extraction) mode(executable bool) os.FileMode {
	switch {
	case x.access == Anyone && executable:
		return 0o777
	case x.access == Anyone:
		return 0o666
	case executable:
		return 0o755
	}
	return 0o644
}
