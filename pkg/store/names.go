package store

import (
	"fmt"
	"net"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// names translates between the two names of the registry.
type names struct {
	reach, public string // host[:port][/prefix]
	insecure      bool
}

// IsHost tells whether the first part of an image's name is a registry, and not the begin
// of a path.
func IsHost(part string) bool { return strings.ContainsAny(part, ".:") || part == "localhost" }

func newNames(cfg Config) (names, error) {
	n := names{reach: strings.TrimSuffix(cfg.Registry, "/"), public: strings.TrimSuffix(cfg.Public, "/"), insecure: cfg.Insecure}
	if n.public == "" {
		n.public = n.reach
	}
	for _, registry := range []string{n.reach, n.public} {
		host, _, _ := strings.Cut(registry, "/")
		if !IsHost(host) {
			return names{}, fmt.Errorf("registry %q: it has to begin with a host that has a dot or a port", registry)
		}
		if _, err := name.NewRepository(registry + "/x"); err != nil {
			return names{}, fmt.Errorf("registry %q: %w", registry, err)
		}
	}
	return n, nil
}

// Reach is how this process reaches what has the given public name: a repository
// or a reference. Names of other registries are their own.
func (s *Store) Reach(public string) string { return swap(public, s.names.public, s.names.reach) }

// Public is the public name of what this process reaches by the given one.
func (s *Store) Public(reach string) string { return swap(reach, s.names.reach, s.names.public) }

// swap replaces a prefix, or, where both have the same path, the host alone: the
// registry has repositories outside the prefix too.
func swap(text, from, to string) string {
	if rest, ok := strings.CutPrefix(text, from+"/"); ok {
		return to + "/" + rest
	}
	fromHost, fromPath, _ := strings.Cut(from, "/")
	toHost, toPath, _ := strings.Cut(to, "/")
	if rest, ok := strings.CutPrefix(text, fromHost+"/"); ok && fromPath == toPath {
		return toHost + "/" + rest
	}
	return text
}

func (n names) reference(public string) (name.Reference, error) {
	ref := swap(public, n.public, n.reach)
	r, err := name.ParseReference(ref, n.options(ref)...)
	if err != nil {
		return nil, fmt.Errorf("image reference %.200q: %w", public, err)
	}
	return r, nil
}

func (n names) repository(public string) (name.Repository, error) {
	repository := swap(public, n.public, n.reach)
	r, err := name.NewRepository(repository, n.options(repository)...)
	if err != nil {
		return name.Repository{}, fmt.Errorf("repository %.200q: %w", public, err)
	}
	return r, nil
}

func (n names) options(reach string) []name.Option {
	if host, _, _ := strings.Cut(reach, "/"); n.plain(host) {
		return []name.Option{name.Insecure}
	}
	return nil
}

// plain tells whether a host may be spoken to without TLS.
func (n names) plain(host string) bool {
	if ours, _, _ := strings.Cut(n.reach, "/"); n.insecure && host == ours {
		return true
	}
	bare, _, err := net.SplitHostPort(host)
	if err != nil {
		bare = strings.Trim(host, "[]")
	}
	ip := net.ParseIP(bare)
	return bare == "localhost" || ip != nil && ip.IsLoopback()
}
