package fetch

import (
	"archive/tar"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/millrace-cd/millrace/pkg/archive"
)

// Exists says that files are in the way, by their names.
type Exists []string

// Error implements error.
func (e Exists) Error() string {
	const most = 5
	text := strings.Join(e[:min(len(e), most)], ", ")
	if len(e) > most {
		text += fmt.Sprintf(" and %d more", len(e)-most)
	}
	return text + ": there already"
}

// Into puts the selected files of a tar into dir, which it makes if need be. Nothing
// appears there before all of the tar is read and found to be right, and where files
// are in the way nothing at all, unless they may be replaced: then the error is
// [Exists].
func Into(dir string, r io.Reader, want Paths, replace bool) (stats archive.Stats, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // as mkdir does
		return stats, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return stats, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	aside := ".millrace-" + strings.ToLower(rand.Text())
	if err := root.Mkdir(aside, 0o700); err != nil {
		return stats, err
	}
	defer func() { err = errors.Join(err, root.RemoveAll(aside)) }()
	if stats, err = extract(r, root, aside, want); err != nil {
		return archive.Stats{}, err
	}
	return stats, publish(root, aside, replace)
}

// extract fills a directory of root with the selected files.
func extract(r io.Reader, root *os.Root, aside string, want Paths) (archive.Stats, error) {
	inner, err := root.OpenRoot(aside)
	if err != nil {
		return archive.Stats{}, err
	}
	selected, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.CloseWithError(pick(w, r, want))
	}()
	stats, err := archive.Extract(selected, inner, archive.Artifact(), archive.Owner)
	_ = selected.Close() // ends the picking, had it more
	<-done
	return stats, errors.Join(err, inner.Close())
}

// pick writes a tar of the selected entries of r, as they are: who extracts it judges
// them.
func pick(w io.Writer, r io.Reader, want Paths) error {
	out := tar.NewWriter(w)
	err := each(r, func(h *tar.Header, content io.Reader) error {
		if !want.Has(path.Clean(h.Name)) {
			return nil
		}
		if err := out.WriteHeader(h); err != nil {
			return err
		}
		_, err := io.Copy(out, content)
		return err
	})
	if err != nil {
		return err
	}
	return out.Close()
}

// publish moves what lies in a directory of root to root itself.
func publish(root *os.Root, aside string, replace bool) error {
	files, err := below(root, aside)
	if err != nil {
		return err
	}
	var there Exists
	for _, name := range files {
		_, err := root.Lstat(name)
		switch {
		case err == nil && !replace:
			there = append(there, name)
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	if there != nil {
		return there
	}
	for _, name := range files {
		if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		if err := root.Rename(path.Join(aside, name), name); err != nil {
			return err
		}
	}
	return nil
}

// below lists the files in a directory of root, relative to it.
func below(root *os.Root, dir string) (files []string, err error) {
	err = fs.WalkDir(root.FS(), dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, strings.TrimPrefix(name, dir+"/"))
		}
		return err
	})
	return files, err
}
