// Package fetch gets files out of tars that are in the registry, and trusts nothing
// that they say: what is refused, or not what was stored, leaves no file behind.
package fetch

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/millrace-cd/millrace/pkg/archive"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/store"
)

// List tells which files are in a tar: as the list that was stored with it says, or
// where there is none, by reading it.
func List(ctx context.Context, s *store.Store, blob event.Blob) ([]archive.File, error) {
	data, err := s.Config(ctx, blob)
	if err != nil {
		return nil, err
	}
	if data == nil {
		return read(ctx, s, blob)
	}
	var files []archive.File
	if err := json.Unmarshal(data, &files); err != nil {
		return nil, fmt.Errorf("list the files of %s@%s: %w", blob.Repository, blob.Digest, err)
	}
	return files, nil
}

func read(ctx context.Context, s *store.Store, blob event.Blob) (files []archive.File, err error) {
	r, err := s.Get(ctx, blob)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	err = each(r, func(h *tar.Header, content io.Reader) error {
		if h.Typeflag == tar.TypeDir {
			return nil
		}
		f := archive.File{Path: path.Clean(h.Name), Size: h.Size, Mode: fmt.Sprintf("%04o", h.Mode&0o777), Link: h.Linkname}
		if h.Typeflag == tar.TypeReg {
			hash := sha256.New()
			if _, err := io.Copy(hash, content); err != nil {
				return err
			}
			f.Digest = "sha256:" + hex.EncodeToString(hash.Sum(nil))
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the files of %s@%s: %w", blob.Repository, blob.Digest, err)
	}
	return files, nil
}

// each calls do for the entries of a tar and reads r to its end, where its digest is
// checked.
func each(r io.Reader, do func(*tar.Header, io.Reader) error) error {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, r)
			return err
		}
		if err == nil {
			err = do(h, tr)
		}
		if err != nil {
			return err
		}
	}
}

// Paths select files: each selects the one of its name, or all below the directory of
// its name. None select all.
type Paths []string

// Select makes paths of what people type.
func Select(args []string) Paths {
	var p Paths
	for _, arg := range args {
		if clean := path.Clean(strings.TrimPrefix(arg, "./")); clean != "." {
			p = append(p, clean)
		}
	}
	return p
}

// Has tells whether a file is among the selected.
func (p Paths) Has(name string) bool {
	for _, want := range p {
		if name == want || strings.HasPrefix(name, want+"/") {
			return true
		}
	}
	return len(p) == 0
}

// Missing are the paths that select none of the files.
func (p Paths) Missing(files []archive.File) (missing []string) {
	for _, want := range p {
		found := false
		for _, f := range files {
			found = found || Paths{want}.Has(f.Path)
		}
		if !found {
			missing = append(missing, want)
		}
	}
	return missing
}
