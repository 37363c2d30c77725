package image

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Layer is a layer that was compressed once: it knows its digests and can be read
// again and again until it is closed. It is safe for concurrent use.
type Layer struct {
	digest, diffID v1.Hash
	size, files    int64
	spool          *spool
}

const (
	// kept is how much of a compressed layer stays in memory.
	kept = 64 << 20
	// keptOfMany is the same where there may be a hundred of them.
	keptOfMany = 4 << 20
)

// Compress makes a layer out of the uncompressed tar that fill writes. What does not
// fit into memory goes to a file in dir ("" = the system's temporary directory). The
// caller closes the layer when the image has been stored.
func Compress(dir string, fill func(io.Writer) error) (*Layer, error) {
	return compress(dir, kept, fill)
}

func compress(dir string, memory int64, fill func(io.Writer) error) (*Layer, error) {
	l := &Layer{spool: &spool{dir: dir, memory: memory}}
	packed, plain := sha256.New(), sha256.New()
	z := newZipper(io.MultiWriter(packed, l.spool))
	counted := &counter{}
	err := fill(io.MultiWriter(plain, counted, z))
	if err := errors.Join(err, z.Close(), l.spool.finish()); err != nil {
		return nil, errors.Join(fmt.Errorf("pack layer: %w", err), l.Close())
	}
	l.digest, l.diffID, l.size, l.files = sum(packed), sum(plain), l.spool.size, counted.n
	return l, nil
}

// FromTar is a fill for [Compress] that copies a tar.
func FromTar(open func() (io.ReadCloser, error)) func(io.Writer) error {
	return func(w io.Writer) error {
		r, err := open()
		if err != nil {
			return err
		}
		_, err = io.Copy(w, r)
		return errors.Join(err, r.Close())
	}
}

// Close frees what the layer takes up. It cannot be read after that.
func (l *Layer) Close() error { return l.spool.remove() }

// Digest is of the compressed layer.
func (l *Layer) Digest() (v1.Hash, error) { return l.digest, nil }

// DiffID is the digest of the tar.
func (l *Layer) DiffID() (v1.Hash, error) { return l.diffID, nil }

// Size is that of the compressed layer, in bytes.
func (l *Layer) Size() (int64, error) { return l.size, nil }

// MediaType is OCI's; an image in Docker's format calls the same bytes by its own.
func (l *Layer) MediaType() (types.MediaType, error) { return types.OCILayer, nil }

// UncompressedSize is that of the tar, in bytes.
func (l *Layer) UncompressedSize() (int64, error) { return l.files, nil }

// Compressed reads the layer.
func (l *Layer) Compressed() (io.ReadCloser, error) { return l.spool.open() }

// Uncompressed reads the tar.
func (l *Layer) Uncompressed() (io.ReadCloser, error) {
	r, err := l.spool.open()
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{z, r}, nil
}

func sum(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// spool keeps what is written to it: in memory, and beyond a limit in a file.
type spool struct {
	dir    string
	memory int64 // limit, in bytes
	size   int64

	data bytes.Buffer
	file *os.File // written to until finish
	path string
}

func (s *spool) Write(p []byte) (int, error) {
	if s.file == nil && s.size+int64(len(p)) > s.memory {
		if err := s.spill(); err != nil {
			return 0, err
		}
	}
	s.size += int64(len(p))
	if s.file != nil {
		return s.file.Write(p)
	}
	return s.data.Write(p)
}

func (s *spool) spill() error {
	f, err := os.CreateTemp(s.dir, "millrace-layer-*")
	if err != nil {
		return err
	}
	s.file, s.path = f, f.Name()
	_, err = f.Write(s.data.Bytes())
	s.data = bytes.Buffer{}
	return err
}

// finish ends writing.
func (s *spool) finish() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}

func (s *spool) open() (io.ReadCloser, error) {
	if s.path != "" {
		return os.Open(s.path)
	}
	return io.NopCloser(bytes.NewReader(s.data.Bytes())), nil
}

// at reads anywhere.
func (s *spool) at() (interface {
	io.ReaderAt
	io.Closer
}, error,
) {
	if s.path != "" {
		return os.Open(s.path)
	}
	return struct {
		io.ReaderAt
		io.Closer
	}{bytes.NewReader(s.data.Bytes()), io.NopCloser(nil)}, nil
}

func (s *spool) remove() error {
	s.data = bytes.Buffer{}
	if s.path == "" {
		return nil
	}
	err := os.Remove(s.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // closed before
	}
	return err
}
