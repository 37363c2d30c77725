// Package store keeps snapshots, artifacts and images in an OCI registry, all of
// them by digest, and publishes images in any registry.
//
// What is put is there once, however often it is put, and whole: after a manifest
// was sent, it is read back, and each blob that it names is asked for. What is got
// has the digest that was asked for, or there is an error. Requests that a registry
// answers with 429 or 5xx, or whose connection drops, are tried again for some
// seconds, not before the time that a Retry-After names; after that the error is
// the caller's to retry.
//
// The registry may have two names: the one by which this process reaches it, and
// the public one that events, the container engine and people use. Everything
// that goes in or out of this package is public.
//
// Logins go to the registry that they are for and to the token server that it
// names, never where it redirects to. No error shows a password.
package store

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
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
	// ErrSwapped says that a tag stood for another image right after it was set.
	ErrSwapped = errors.New("tag was changed by somebody else")
	// ErrDenied says that the registry wants a login, or another one.
	ErrDenied = errors.New("not allowed by the registry")
	// ErrTooLarge says that there is more than may be read into memory.
	ErrTooLarge = errors.New("too large")
	// ErrPlatform says that an image is not for the platform that was asked for.
	ErrPlatform = errors.New("no image for the platform")
)

// Config says where the registry is.
type Config struct {
	Registry string // host[:port][/prefix] as this process reaches it
	Public   string // the same as the engine and people name it; "" = Registry
	Insecure bool   // plain http, which otherwise only a loopback address may speak

	Logins    map[string]Login  // by host[:port], of this and of other registries
	Transport http.RoundTripper // nil = the default, with proxies by environment
	Keychain  authn.Keychain    // where Logins has none; nil = Docker's configuration and its helpers
}

// Store is a registry. It is safe for concurrent use.
type Store struct {
	names   names
	logins  logins
	options []remote.Option

	mu     sync.Mutex
	puller *remote.Puller
	pusher *remote.Pusher

	attaching [16]sync.Mutex // by the subject's last hexadecimal digit
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
	s := &Store{names: names, logins: logins{names: names, known: cfg.Logins, next: cfg.Keychain, shown: &sync.Map{}}}
	s.options = []remote.Option{
		remote.WithTransport(careful{names: names, busy: &busy{until: map[string]time.Time{}}, next: cfg.Transport}),
		remote.WithAuthFromKeychain(s.logins),
		remote.WithUserAgent("millrace"),
		remote.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}),
		remote.WithRetryBackoff(backoff),
		remote.WithRetryPredicate(passing),
	}
	if s.puller, err = remote.NewPuller(s.options...); err != nil {
		return nil, fmt.Errorf("open registry %s: %w", cfg.Registry, err)
	}
	if s.pusher, err = remote.NewPusher(s.options...); err != nil {
		return nil, fmt.Errorf("open registry %s: %w", cfg.Registry, err)
	}
	return s, nil
}

// renew forgets the connections' logins and tokens, so that the next request asks
// for them again.
func (s *Store) renew() {
	puller, err := remote.NewPuller(s.options...)
	if err != nil {
		return // the options were good when the store was opened
	}
	pusher, err := remote.NewPusher(s.options...)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.puller, s.pusher = puller, pusher
}

// receiver is what reads; it keeps logins and tokens by repository.
func (s *Store) receiver() *remote.Puller {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.puller
}

// get reads a manifest.
func (s *Store) get(ctx context.Context, r name.Reference) (*remote.Descriptor, error) {
	got, err := s.receiver().Get(ctx, r)
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		got, err = s.receiver().Get(ctx, r) // somebody who logged in for both of us was told to stop
	}
	if err != nil {
		return nil, s.explain(r.Context(), err)
	}
	return got, nil
}

// Digest is the digest that a reference, such as host/name:tag, stands for now.
// The error wraps [ErrMissing] where there is none.
func (s *Store) Digest(ctx context.Context, ref string) (string, error) {
	r, err := s.names.reference(ref)
	if err != nil {
		return "", err
	}
	head, err := s.head(ctx, r)
	if err != nil {
		return "", fmt.Errorf("look up %s: %w", ref, err)
	}
	return head.Digest.String(), nil
}

// head describes a manifest.
func (s *Store) head(ctx context.Context, r name.Reference) (v1.Descriptor, error) {
	head, err := s.receiver().Head(ctx, r)
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		head, err = s.receiver().Head(ctx, r)
	}
	if err == nil {
		return *head, nil
	}
	status, ok := errors.AsType[*transport.Error](err)
	if mute := strings.Contains(err.Error(), "response did not include"); !mute && (!ok || status.StatusCode != http.StatusMethodNotAllowed) {
		return v1.Descriptor{}, s.explain(r.Context(), err)
	}
	got, err := s.get(ctx, r) // some registries do not tell it without the manifest
	if err != nil {
		return v1.Descriptor{}, err
	}
	return got.Descriptor, nil
}

// maxTags is how many tags of a repository are listed; nobody reads as many.
const maxTags = 50_000

// Tags lists the tags of a repository; none where there is no such repository.
// Tags that are there for attachments' sake are left out.
func (s *Store) Tags(ctx context.Context, repository string) ([]string, error) {
	r, err := s.names.repository(repository)
	if err != nil {
		return nil, err
	}
	tags, err := s.tags(ctx, r)
	if errors.Is(err, ErrMissing) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list tags of %s: %w", repository, err)
	}
	return tags, nil
}

func (s *Store) tags(ctx context.Context, r name.Repository) (tags []string, err error) {
	pages, err := s.receiver().Lister(ctx, r)
	if err != nil {
		return nil, s.explain(r, err)
	}
	for pages.HasNext() {
		page, err := pages.Next(ctx)
		if err != nil {
			return nil, s.explain(r, err)
		}
		if len(page.Tags) == 0 {
			return tags, nil
		}
		for _, t := range page.Tags {
			if !strings.HasPrefix(t, fallbackPrefix) {
				tags = append(tags, t)
			}
		}
		if len(tags) > maxTags {
			return nil, fmt.Errorf("%w: more than %d tags", ErrTooLarge, maxTags)
		}
	}
	return tags, nil
}
