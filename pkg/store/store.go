// Package store keeps snapshots, artifacts and images in an OCI registry, all of
// them by digest.
//
// What is put is there once, however often it is put; what is got has the digest
// that was asked for, or there is an error. Requests that a registry answers with
// 429 or 5xx, or whose connection drops, are tried again for some seconds; after
// that the error is the caller's to retry.
//
// The registry may have two names: the one by which this process reaches it, and
// the public one that events, the container engine and people use. Everything
// that goes in or out of this package is public.
package store

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

var (
	// ErrMissing says that the registry does not have it.
	ErrMissing = errors.New("not in the registry")
	// ErrCorrupt says that the registry gave bytes of another digest or size.
	ErrCorrupt = errors.New("corrupt in the registry")
	// ErrTaken says that a tag stands for another image and was not to be moved.
	ErrTaken = errors.New("tag is taken")
)

// Config says where the registry is.
type Config struct {
	Registry string // host[:port][/prefix] as this process reaches it
	Public   string // the same as the engine and people name it; "" = Registry
	Insecure bool   // plain http, which otherwise only a loopback address may speak

	Transport http.RoundTripper // nil = the default, with proxies by environment
	Keychain  authn.Keychain    // nil = Docker's configuration and its helpers
}

// Store is a registry. It is safe for concurrent use.
type Store struct {
	names   names
	options []remote.Option
	puller  *remote.Puller

	mu     sync.Mutex
	pusher *remote.Pusher
}

// Open does not talk to the registry yet.
func Open(cfg Config) (*Store, error) {
	return open(cfg, remote.Backoff{Duration: 250 * time.Millisecond, Factor: 2, Jitter: 0.1, Steps: 5})
}

func open(cfg Config, backoff remote.Backoff) (*Store, error) {
	names, err := newNames(cfg)
	if err != nil {
		return nil, err
	}
	if cfg.Transport == nil {
		cfg.Transport = remote.DefaultTransport
	}
	if cfg.Keychain == nil {
		cfg.Keychain = authn.DefaultKeychain
	}
	s := &Store{names: names, options: []remote.Option{
		remote.WithTransport(plainOnlyWhereAllowed{names: names, next: cfg.Transport}),
		remote.WithAuthFromKeychain(cfg.Keychain),
		remote.WithUserAgent("millrace"),
		remote.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}),
		remote.WithRetryBackoff(backoff),
		remote.WithRetryPredicate(passing),
	}}
	if s.puller, err = remote.NewPuller(s.options...); err != nil {
		return nil, fmt.Errorf("open registry %s: %w", cfg.Registry, err)
	}
	if s.pusher, err = remote.NewPusher(s.options...); err != nil {
		return nil, fmt.Errorf("open registry %s: %w", cfg.Registry, err)
	}
	return s, nil
}

// Digest is the digest that a reference, such as host/name:tag, stands for now.
// The error wraps [ErrMissing] where there is none.
func (s *Store) Digest(ctx context.Context, ref string) (string, error) {
	r, err := s.names.reference(ref)
	if err != nil {
		return "", err
	}
	h, err := s.digest(ctx, r)
	if err != nil {
		return "", fmt.Errorf("look up %s: %w", ref, err)
	}
	return h.String(), nil
}

func (s *Store) digest(ctx context.Context, r name.Reference) (v1.Hash, error) {
	head, err := s.puller.Head(ctx, r)
	if err == nil {
		return head.Digest, nil
	}
	if status, ok := errors.AsType[*transport.Error](err); passing(err) || ctx.Err() != nil || ok && status.StatusCode != http.StatusMethodNotAllowed {
		return v1.Hash{}, explain(err)
	}
	got, err := s.puller.Get(ctx, r) // some registries do not tell it without the manifest
	if err != nil {
		return v1.Hash{}, explain(err)
	}
	return got.Digest, nil
}

// Tags lists the tags of a repository; none where there is no such repository.
func (s *Store) Tags(ctx context.Context, repository string) ([]string, error) {
	r, err := s.names.repository(repository)
	if err != nil {
		return nil, err
	}
	tags, err := s.puller.List(ctx, r)
	if err := explain(err); errors.Is(err, ErrMissing) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("list tags of %s: %w", repository, err)
	}
	return tags, nil
}
