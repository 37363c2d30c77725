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

// unknown is the size of a blob of which only the digest is known.
const unknown = -1

// content reads a blob and checks it.
func (s *Store) content(ctx context.Context, repo name.Repository, want v1.Descriptor) (io.ReadCloser, error) {
	if want.Digest.Algorithm != "sha256" {
		return nil, fmt.Errorf("get blob %s: only sha256 digests are read", want.Digest)
	}
	r := &reader{what: s.Public(repo.Name()), want: want, hash: sha256.New(), open: func() (io.ReadCloser, error) {
		layer, err := s.receiver().Layer(ctx, repo.Digest(want.Digest.String()))
		if err != nil {
			return nil, s.explain(repo, err)
		}
		body, err := layer.Compressed()
		return body, s.explain(repo, err)
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
		return fmt.Errorf("get blob %s of %s: %w", r.want.Digest, r.what, err)
	}
	r.body = body
	return nil
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	r.hash.Write(p[:n])
	r.n += int64(n)
	switch {
	case r.want.Size != unknown && r.n > r.want.Size:
		return n, r.corrupt("unknown")
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF) || errors.Is(classify(err), ErrCorrupt):
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
	if r.want.Size != unknown && r.n != r.want.Size || got != r.want.Digest {
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

// whole reads a blob of at most limit bytes.
func (s *Store) whole(ctx context.Context, repo name.Repository, want v1.Descriptor, limit int64) ([]byte, error) {
	if want.Size > limit {
		return nil, fmt.Errorf("get blob %s: %w: it has %d bytes, at most %d are read", want.Digest, ErrTooLarge, want.Size, limit)
	}
	r, err := s.content(ctx, repo, want)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	_ = r.Close() // nothing is written by closing it
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("get blob %s: %w: it has more than %d bytes", want.Digest, ErrTooLarge, limit)
	}
	return data, nil
}
