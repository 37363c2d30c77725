package archive

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
)

// Tar is a tar in a temporary file: its digest has to be known before it can be
// stored, and it is read more than once.
type Tar struct {
	Digest string // sha256:<hex> of the tar
	Size   int64  // of the tar, in bytes
	Stats  Stats  // of the files in it

	path string
}

// Spool makes a tar in dir ("" = the system's temporary directory) out of what
// fill writes. The caller has to remove it.
func Spool(dir string, fill func(io.Writer) (Stats, error)) (*Tar, error) {
	f, err := os.CreateTemp(dir, "millrace-*.tar")
	if err != nil {
		return nil, fmt.Errorf("spool tar: %w", err)
	}
	t := &Tar{path: f.Name()}
	if err := errors.Join(t.fill(f, fill), f.Close()); err != nil {
		return nil, errors.Join(err, t.Remove())
	}
	return t, nil
}

// Open reads the tar from its begin.
func (t *Tar) Open() (io.ReadCloser, error) { return os.Open(t.path) }

// Remove deletes the file. Readers that are open can go on.
func (t *Tar) Remove() error { return os.Remove(t.path) }

func (t *Tar) fill(f *os.File, fill func(io.Writer) (Stats, error)) error {
	hash, size := sha256.New(), counter(0)
	// Headers come in pieces of 512 bytes; a write to a file costs about a microsecond.
	w := bufio.NewWriterSize(io.MultiWriter(f, hash, &size), 64<<10)
	stats, err := fill(w)
	if err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("spool tar: %w", err)
	}
	t.Stats, t.Size, t.Digest = stats, int64(size), "sha256:"+hex.EncodeToString(hash.Sum(nil))
	return nil
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
