package store

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/errgroup"
)

const (
	// tries is how often a manifest is sent: with what the pusher remembers, and
	// without. More only where others stop while we wait for them.
	tries = 3
	// jobs is how many blobs of a manifest are sent or asked for at the same time.
	jobs = 4
)

// bundle is a manifest and the blobs that it names.
type bundle struct {
	digest   v1.Hash
	manifest remote.Taggable
	blobs    []v1.Layer
}

// deliver makes sure that a repository has the bundles, which come in the order
// of their dependence: blobs first, the manifest last.
func (s *Store) deliver(ctx context.Context, repo name.Repository, bundles ...bundle) error {
	for _, b := range bundles {
		r := repo.Digest(b.digest.String())
		send := func(p *remote.Pusher) error {
			if err := upload(ctx, p, repo, b.blobs); err != nil {
				return err
			}
			return p.Put(ctx, r, b.manifest)
		}
		if err := s.push(ctx, r, send); err != nil {
			return err
		}
		if err := s.complete(ctx, repo, b); err != nil {
			return err
		}
	}
	return nil
}

// push makes sure that the registry has a manifest under its digest. send is
// called if it does not have it yet, and sends blobs first, the manifest last.
//
// The kept pusher saves round trips by remembering what it sent. A registry may
// have lost that since, by garbage collection or a new disk, so a manifest that
// is not there afterwards, or that misses a blob, is sent once more by a pusher
// that remembers nothing.
func (s *Store) push(ctx context.Context, r name.Digest, send func(*remote.Pusher) error) error {
	if _, err := s.head(ctx, r); err == nil || !errors.Is(err, ErrMissing) && !forbidden(err) {
		return err
	}
	for try := 1; ; try++ {
		pusher, err := s.sender(try)
		if err != nil {
			return err
		}
		if err = s.explain(r.Context(), send(pusher)); err == nil {
			_, err = s.get(ctx, r) // not what it says of the manifest, but the manifest
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		// Canceled, but not by our caller: by that of somebody who sent the same blob.
		again := errors.Is(err, ErrMissing) || errors.Is(err, context.Canceled) || lost(err)
		if !again || try == tries {
			return err
		}
	}
}

// sender is the kept pusher, or a new one in its place.
func (s *Store) sender(try int) (*remote.Pusher, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if try > 1 {
		fresh, err := remote.NewPusher(s.options...)
		if err != nil {
			return nil, err
		}
		s.pusher = fresh
	}
	return s.pusher, nil
}

// complete makes sure that the registry has the blobs of a manifest that it has:
// some forget them, and most do not look.
func (s *Store) complete(ctx context.Context, repo name.Repository, b bundle) error {
	missing, err := s.missing(ctx, repo, b.blobs)
	if err != nil || len(missing) == 0 {
		return err
	}
	pusher, err := s.sender(tries)
	if err != nil {
		return err
	}
	if err := upload(ctx, pusher, repo, missing); err != nil {
		return fmt.Errorf("send again what the registry lost: %w", s.explain(repo, err))
	}
	if missing, err = s.missing(ctx, repo, missing); err != nil || len(missing) == 0 {
		return err
	}
	digest, err := missing[0].Digest()
	return errors.Join(err, fmt.Errorf("%w: blob %s was sent and accepted", ErrMissing, digest))
}

// missing tells which blobs a repository does not have.
func (s *Store) missing(ctx context.Context, repo name.Repository, blobs []v1.Layer) (missing []v1.Layer, err error) {
	var mu sync.Mutex
	all, inner := errgroup.WithContext(ctx)
	all.SetLimit(jobs)
	for _, blob := range blobs {
		all.Go(func() error {
			has, err := s.has(inner, repo, blob)
			if err != nil || has {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			missing = append(missing, blob)
			return nil
		})
	}
	return missing, all.Wait()
}

// has tells whether a repository has a blob. Where a registry does not answer that
// question, it is believed.
func (s *Store) has(ctx context.Context, repo name.Repository, blob v1.Layer) (bool, error) {
	want, err := partial.Descriptor(blob)
	if err != nil {
		return false, err
	}
	if !want.MediaType.IsDistributable() {
		return true, nil
	}
	there, err := s.receiver().Layer(ctx, repo.Digest(want.Digest.String()))
	if err != nil {
		return false, s.explain(repo, err)
	}
	size, err := there.Size()
	if status, ok := errors.AsType[*transport.Error](err); ok && !passing(err) {
		return status.StatusCode != http.StatusNotFound, nil
	}
	if err != nil {
		return false, s.explain(repo, err)
	}
	if size >= 0 && size != want.Size {
		return false, fmt.Errorf("%w: blob %s has %d bytes, want %d", ErrCorrupt, want.Digest, size, want.Size)
	}
	return true, nil
}

// upload sends blobs, those that the registry has not.
func upload(ctx context.Context, p *remote.Pusher, repo name.Repository, blobs []v1.Layer) error {
	all, inner := errgroup.WithContext(ctx)
	all.SetLimit(jobs)
	for _, blob := range blobs {
		all.Go(func() error { return p.Upload(inner, repo, blob) })
	}
	return all.Wait()
}
