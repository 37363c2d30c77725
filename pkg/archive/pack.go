package archive

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Pack writes the entries, in whatever order they come, as a deterministic tar
// to w and lists what it wrote.
func Pack(w io.Writer, entries []Entry, limits Limits) ([]File, error) {
	entries = slices.Clone(entries)
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	out := NewWriter(w, limits)
	for _, e := range entries {
		if err := out.Add(e); err != nil {
			return nil, err
		}
	}
	return out.Close()
}

// Writer packs a tree whose entries come one by one, sorted by their paths as
// bytes. It is what [Pack] uses.
type Writer struct {
	tar    *tar.Writer
	tree   *tree
	last   string
	files  []File
	buffer []byte
}

// NewWriter packs to w.
func NewWriter(w io.Writer, limits Limits) *Writer {
	return &Writer{tar: tar.NewWriter(w), tree: newTree(limits), buffer: make([]byte, 64<<10)}
}

// Add packs the next entry. After an error the tar is of no use.
func (w *Writer) Add(e Entry) error {
	if len(w.files) > 0 && e.Path < w.last {
		return refuse(e.Path, "comes after %.200q, the entries are not sorted", w.last)
	}
	w.last = e.Path
	if e.Link != "" {
		return w.addLink(e)
	}
	return w.addFile(e)
}

// Close ends the tar and lists what is in it, sorted by path. It does not close
// the writer below.
func (w *Writer) Close() ([]File, error) {
	if err := w.tar.Close(); err != nil {
		return nil, fmt.Errorf("end tar: %w", err)
	}
	return w.files, nil
}

func (w *Writer) addLink(e Entry) error {
	if err := w.tree.add(e.Path, link, e.Link, 0); err != nil {
		return err
	}
	h := header(e.Path, tar.TypeSymlink, 0o777)
	h.Linkname = e.Link
	if err := w.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("pack %q: %w", e.Path, err)
	}
	w.files = append(w.files, File{Path: e.Path, Mode: "0777", Link: e.Link})
	return nil
}

func (w *Writer) addFile(e Entry) error {
	if err := w.tree.add(e.Path, file, "", e.Size); err != nil {
		return err
	}
	h := header(e.Path, tar.TypeReg, 0o644)
	if e.Executable {
		h.Mode = 0o755
	}
	h.Size = e.Size
	if err := w.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("pack %q: %w", e.Path, err)
	}
	digest, err := w.content(e)
	if err != nil {
		return fmt.Errorf("pack %q: %w", e.Path, err)
	}
	w.files = append(w.files, File{Path: e.Path, Digest: digest, Size: e.Size, Mode: fmt.Sprintf("%04o", h.Mode)})
	return nil
}

// content copies exactly e.Size bytes and gives their digest. A file that grew
// or shrank meanwhile is an error: what was announced is what is packed.
func (w *Writer) content(e Entry) (string, error) {
	r, err := e.Open()
	if err != nil {
		return "", err
	}
	defer func() { _ = r.Close() }()
	hash := sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(w.tar, hash), io.LimitReader(r, e.Size), w.buffer)
	if err != nil {
		return "", err
	}
	if more, _ := io.CopyN(io.Discard, r, 1); n != e.Size || more != 0 {
		return "", fmt.Errorf("its size changed from %d bytes while it was read", e.Size)
	}
	return "sha256:" + hex.EncodeToString(hash.Sum(nil)), nil
}

// header has no owner and no time. PAX is the format that holds every name that
// is allowed; it costs nothing where the old fields suffice.
func header(name string, kind byte, mode int64) *tar.Header {
	return &tar.Header{Name: name, Typeflag: kind, Mode: mode, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
}
