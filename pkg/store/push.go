package store

import (
	"context"
	"errors"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// push makes sure that the registry has a manifest under its digest. send is
// called if it does not have it yet, and sends blobs first, the manifest last.
//
// The kept pusher saves round trips by remembering what it sent. A registry may
// have lost that since, by garbage collection or a new disk, so a manifest that
// is not there afterwards, or that misses a blob, is sent once more by a pusher
// that remembers nothing.
func (s *Store) push(ctx context.Context, r name.Digest, send func(*remote.Pusher) error) error {
	if _, err := s.digest(ctx, r); err == nil || !errors.Is(err, ErrMissing) && !forbidden(err) {
		return err
	}
	for try := 1; ; try++ {
		pusher, err := s.sender(try)
		if err != nil {
			return err
		}
		if err = send(pusher); err == nil {
			_, err = s.digest(ctx, r)
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		// Canceled, but not by our caller: by that of somebody who sent the same blob.
		again := errors.Is(err, ErrMissing) || errors.Is(err, context.Canceled) || lost(err)
		if !again || try == tries {
			return explain(err)
		}
	}
}

// tries is how often a manifest is sent: with what the pusher remembers, and
// without. More only where others stop while we wait for them.
const tries = 3

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

// forbidden is what some registries say instead of "not found".
func forbidden(err error) bool {
	status, ok := errors.AsType[*transport.Error](err)
	return ok && status.StatusCode == http.StatusForbidden
}

// lost tells whether the registry misses something that a manifest refers to.
func lost(err error) bool {
	status, ok := errors.AsType[*transport.Error](err)
	if !ok || status.StatusCode != http.StatusBadRequest && status.StatusCode != http.StatusNotFound {
		return false
	}
	for _, d := range status.Errors {
		switch d.Code {
		case transport.ManifestBlobUnknownErrorCode, transport.BlobUnknownErrorCode, transport.ManifestInvalidErrorCode, transport.ManifestUnknownErrorCode:
			return true
		}
	}
	return false
}
