package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// reopen is how often a download goes on after its connection dropped.
const reopen = 3

// content reads a blob and checks it.
func (s *Store) content(ctx context.Context, repo name.Repository, want v1.Descriptor) (io.ReadCloser, error) {
	r := &reader{what: s.Public(repo.Name()), want: want, hash: sha256.New(), open: func() (io.ReadCloser, error) {
		layer, err := s.puller.Layer(ctx, repo.Digest(want.Digest.String()))
		if err != nil {
			return nil, err
		}
		return layer.Compressed()
	}}
	if err := r.start(); err != nil {
		return nil, err
	}
	return r, nil
}

// reader gives the bytes of a blob. It hashes what it gives, so what comes after
// a dropped connection has to fit to what came before it.
type reader struct {
	what  string
	want  v1.Descriptor
	open  func() (io.ReadCloser, error)
	body  io.ReadCloser
	hash  hash.Hash
	n     int64
	drops int
}

func (r *reader) start() error {
	body, err := r.open()
	if err != nil {
		return fmt.Errorf("get blob %s of %s: %w", r.want.Digest, r.what, explain(err))
	}
	r.body = body
	return nil
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	r.hash.Write(p[:n])
	r.n += int64(n)
	switch {
	case r.n > r.want.Size:
		return n, r.corrupt("unknown")
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF) || errors.Is(explain(err), ErrCorrupt):
		return n, r.end()
	case passing(err) && r.drops < reopen:
		r.drops++
		return n, r.resume()
	}
	return n, fmt.Errorf("get blob %s of %s, after %d of %d bytes: %w", r.want.Digest, r.what, r.n, r.want.Size, err)
}

// Close closes the connection.
func (r *reader) Close() error { return r.body.Close() }

func (r *reader) end() error {
	got := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(r.hash.Sum(nil))}
	if r.n != r.want.Size || got != r.want.Digest {
		return r.corrupt(got.String())
	}
	return io.EOF
}

// resume opens the blob again and skips what was given already.
func (r *reader) resume() error {
	_ = r.body.Close()
	if err := r.start(); err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, r.body, r.n); err != nil {
		return fmt.Errorf("get blob %s of %s again, to skip %d bytes: %w", r.want.Digest, r.what, r.n, err)
	}
	return nil
}

func (r *reader) corrupt(got string) error {
	return fmt.Errorf("get blob of %s: %w: got %d bytes of digest %s, want %d of %s", r.what, ErrCorrupt, r.n, got, r.want.Size, r.want.Digest)
}
