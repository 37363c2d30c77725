// Package inventory finds out what software is in images and artifacts, and remembers
// it: the layers of a base are read once, whatever is released on it.
package inventory

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/millrace-cd/millrace/pkg/sbom"
)

// Shelf keeps what was found, a file for each tar. It is safe for concurrent use, also
// by several processes. What is kept can be made again.
type Shelf struct {
	Dir string // of one version of the program, since another one may find more
}

// jobs is how many layers are read at the same time.
const jobs = 2

// Image is what is in an image. The error says where a layer is not what the image says
// it is.
func (s Shelf) Image(ctx context.Context, img v1.Image) (sbom.Findings, error) {
	layers, err := img.Layers()
	if err != nil {
		return sbom.Findings{}, fmt.Errorf("take inventory: %w", err)
	}
	found := make([]sbom.Findings, len(layers))
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(jobs)
	for i, l := range layers {
		all.Go(func() error {
			diffID, err := l.DiffID()
			if err != nil {
				return fmt.Errorf("take inventory: %w", err)
			}
			found[i], err = s.Tar(ctx, diffID.String(), l.Uncompressed)
			return err
		})
	}
	if err := all.Wait(); err != nil {
		return sbom.Findings{}, err
	}
	return sbom.Merge(found...), nil
}

// Tar is what is in a tar with this digest, which open reads if it is not known yet.
func (s Shelf) Tar(ctx context.Context, digest string, open func() (io.ReadCloser, error)) (sbom.Findings, error) {
	name, ok := strings.CutPrefix(digest, "sha256:")
	if raw, err := hex.DecodeString(name); !ok || err != nil || len(raw) != sha256.Size {
		return sbom.Findings{}, fmt.Errorf("take inventory: %.80q is no digest", digest)
	}
	name = filepath.Join(s.Dir, name+".json")
	if found, err := load(name); err == nil {
		return found, nil
	}
	found, err := read(ctx, digest, open)
	if err != nil {
		return found, fmt.Errorf("take inventory of %s: %w", digest, err)
	}
	return found, save(name, found)
}

// read scans a tar and makes sure that it was the right one.
func read(ctx context.Context, digest string, open func() (io.ReadCloser, error)) (sbom.Findings, error) {
	r, err := open()
	if err != nil {
		return sbom.Findings{}, err
	}
	defer func() { _ = r.Close() }()
	hash := sha256.New()
	in := io.TeeReader(interruptible{ctx, r}, hash)
	found, err := sbom.Scan(in)
	if err == nil {
		_, err = io.Copy(io.Discard, in)
	}
	if err != nil {
		return found, err
	}
	if got := "sha256:" + hex.EncodeToString(hash.Sum(nil)); got != digest {
		return found, fmt.Errorf("it has the digest %s", got)
	}
	return found, nil
}

type interruptible struct {
	ctx context.Context //nolint:containedctx // of one read
	r   io.Reader
}

func (i interruptible) Read(p []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	return i.r.Read(p)
}

func load(name string) (found sbom.Findings, err error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return found, err
	}
	return found, json.Unmarshal(data, &found)
}

// save writes the whole file or none.
func save(name string, found sbom.Findings) error {
	data, err := json.Marshal(found)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), "new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // in vain where it was renamed
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
