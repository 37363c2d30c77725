package standin

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// tree is a root file system to be packed. Contents are read from the host while
// packing, so that it takes little memory.
type tree struct {
	entries map[string]entry
	from    string // what it is made of, for people
}

// entry is a file of the host, a text, a link, or a directory.
type entry struct {
	mode       fs.FileMode // permissions, as tar has them
	owner      int         // user and group; root unless said
	source     string
	text, link string
}

func newTree() *tree { return &tree{entries: map[string]entry{}} }

// dir adds a directory. Those above it are added with mode 0755.
func (t *tree) dir(name string, mode fs.FileMode) {
	t.parents(name)
	t.entries[name+"/"] = entry{mode: mode}
}

func (t *tree) parents(name string) {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if _, ok := t.entries[dir+"/"]; !ok {
			t.entries[dir+"/"] = entry{mode: 0o755}
		}
	}
}

// own gives a directory that was added to a user and the group of the same number.
func (t *tree) own(name string, owner int) {
	e := t.entries[name+"/"]
	e.owner = owner
	t.entries[name+"/"] = e
}

func (t *tree) text(name, text string) {
	t.parents(name)
	t.entries[name] = entry{mode: 0o644, text: text}
}

// script adds a text that can be run.
func (t *tree) script(name, text string) {
	t.text(name, text)
	t.entries[name] = entry{mode: 0o755, text: text}
}

func (t *tree) link(name, target string) {
	t.parents(name)
	t.entries[name] = entry{mode: 0o777, link: target}
}

// file adds a file of the host; links are followed.
func (t *tree) file(name, source string, mode fs.FileMode) error {
	found, err := os.Stat(source)
	if err != nil {
		return err
	}
	if !found.Mode().IsRegular() {
		return &fs.PathError{Op: "copy", Path: source, Err: errors.New("not a regular file")}
	}
	t.parents(name)
	t.entries[name] = entry{mode: mode, source: source}
	return nil
}

// copy adds a file or directory of the host, but nothing that is only for tests.
func (t *tree) copy(name, source string) error {
	found, err := os.Stat(source)
	if err != nil {
		return err
	}
	if !found.IsDir() {
		mode := fs.FileMode(0o644)
		if found.Mode()&0o111 != 0 {
			mode = 0o755
		}
		return t.file(name, source, mode)
	}
	t.dir(name, 0o755)
	below, err := os.ReadDir(source)
	if err != nil {
		return err
	}
	for _, d := range below {
		if d.Name() == "testdata" || strings.HasSuffix(d.Name(), "_test.go") {
			continue
		}
		if err := t.copy(name+"/"+d.Name(), filepath.Join(source, d.Name())); err != nil {
			return err
		}
	}
	return nil
}

// pack writes the tree as a tar that is the same for the same contents.
func (t *tree) pack(out io.Writer) error {
	w := tar.NewWriter(out)
	for _, name := range slices.Sorted(maps.Keys(t.entries)) {
		if err := t.entries[name].pack(w, name); err != nil {
			return err
		}
	}
	return w.Close()
}

func (e entry) pack(w *tar.Writer, name string) error {
	header := &tar.Header{Name: name, Mode: int64(e.mode), Uid: e.owner, Gid: e.owner, Format: tar.FormatPAX}
	switch {
	case strings.HasSuffix(name, "/"):
		header.Typeflag = tar.TypeDir
		return w.WriteHeader(header)
	case e.link != "":
		header.Typeflag, header.Linkname = tar.TypeSymlink, e.link
		return w.WriteHeader(header)
	case e.source == "":
		header.Typeflag, header.Size = tar.TypeReg, int64(len(e.text))
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		_, err := io.WriteString(w, e.text)
		return err
	}
	return packFile(w, header, e.source)
}

func packFile(w *tar.Writer, header *tar.Header, source string) error {
	f, err := os.Open(source)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	found, err := f.Stat()
	if err != nil {
		return err
	}
	header.Typeflag, header.Size = tar.TypeReg, found.Size()
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}
