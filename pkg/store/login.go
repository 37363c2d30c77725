package store

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"unicode"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Login is what to show to a registry. However it is printed, its password is not.
type Login struct {
	User     string `json:"user"`
	Password string `json:"-"`
}

// Format prints the user alone.
func (l Login) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, l.User+":***") }

// Credentials is the login for a registry, host[:port] as people or as this
// process name it: of the configuration, or else of Docker's. ok is false where
// nothing is known, and where all that is known is a token, which only this
// package can use.
func (s *Store) Credentials(host string) (user, password string, ok bool) {
	auth, err := s.logins.authorization(context.Background(), host)
	if err != nil || auth.Username == "" || auth.Password == "" {
		return "", "", false
	}
	return auth.Username, auth.Password, true
}

// logins finds what to show to a registry.
type logins struct {
	names names
	known map[string]Login // by host
	next  authn.Keychain
	shown *sync.Map // host → authn.AuthConfig: what the client got last
}

// Resolve is what the registry client calls without a context.
func (l logins) Resolve(target authn.Resource) (authn.Authenticator, error) {
	return l.ResolveContext(context.Background(), target)
}

// ResolveContext is what the registry client calls.
func (l logins) ResolveContext(ctx context.Context, target authn.Resource) (authn.Authenticator, error) {
	auth, err := l.authorization(ctx, target.RegistryStr())
	if err != nil {
		return nil, err
	}
	l.shown.Store(target.RegistryStr(), auth)
	if auth == (authn.AuthConfig{}) {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(auth), nil
}

// authorization is the zero value where no login is known.
func (l logins) authorization(ctx context.Context, host string) (authn.AuthConfig, error) {
	hosts := l.aliases(host)
	for _, h := range hosts {
		for known, login := range l.known {
			if canonical(known) == h {
				return authn.AuthConfig{Username: login.User, Password: login.Password}, nil
			}
		}
	}
	for _, h := range hosts {
		found, err := authn.Resolve(ctx, l.next, registryHost(h))
		if err != nil {
			return authn.AuthConfig{}, fmt.Errorf("look up the login for registry %s: %w", h, err)
		}
		auth, err := authn.Authorization(ctx, found)
		if err != nil {
			return authn.AuthConfig{}, fmt.Errorf("look up the login for registry %s: %w", h, err)
		}
		if *auth != (authn.AuthConfig{}) {
			return plainText(*auth), nil
		}
	}
	return authn.AuthConfig{}, nil
}

// aliases are the names of a registry: ours has two.
func (l logins) aliases(host string) []string {
	host = canonical(host)
	reach, _, _ := strings.Cut(l.names.reach, "/")
	public, _, _ := strings.Cut(l.names.public, "/")
	switch {
	case reach == public:
	case host == reach:
		return []string{host, public}
	case host == public:
		return []string{host, reach}
	}
	return []string{host}
}

// canonical is one name for the hub, which has several.
func canonical(host string) string {
	switch host {
	case "docker.io", "registry-1.docker.io":
		return name.DefaultRegistry
	}
	return host
}

// plainText takes user and password out of the form that Docker's configuration
// has them in.
func plainText(auth authn.AuthConfig) authn.AuthConfig {
	if auth.Username != "" || auth.Auth == "" {
		return auth
	}
	if both, err := base64.StdEncoding.DecodeString(auth.Auth); err == nil {
		auth.Username, auth.Password, _ = strings.Cut(string(both), ":")
	}
	return auth
}

// registryHost is a registry as a keychain wants it.
type registryHost string

func (r registryHost) String() string      { return string(r) }
func (r registryHost) RegistryStr() string { return string(r) }

// explain makes out of what the client says an error that callers can tell apart,
// that says what to do where a login is wanting, and that gives nothing away.
func (s *Store) explain(repo name.Repository, err error) error {
	if err == nil {
		return nil
	}
	var auth authn.AuthConfig
	if shown, ok := s.logins.shown.Load(repo.RegistryStr()); ok {
		auth, _ = shown.(authn.AuthConfig)
	}
	if status, ok := errors.AsType[*transport.Error](err); ok && !errors.Is(err, ErrDenied) &&
		(status.StatusCode == http.StatusUnauthorized || status.StatusCode == http.StatusForbidden) {
		s.renew() // a login that is given meanwhile is taken
		err = denied(s.publicHost(repo), auth, err)
	}
	return clean(classify(err), auth.Password, auth.Auth, auth.IdentityToken, auth.RegistryToken)
}

func (s *Store) publicHost(repo name.Repository) string {
	host, _, _ := strings.Cut(s.Public(repo.Name()), "/")
	return host
}

func denied(host string, auth authn.AuthConfig, err error) error {
	shown := "no login was shown"
	switch {
	case auth.Username != "":
		shown = fmt.Sprintf("the login of user %q does not suffice", auth.Username)
	case auth != (authn.AuthConfig{}):
		shown = "the token that was shown does not suffice"
	}
	return fmt.Errorf("%w: registry %s, %s (give one by docker login %s or MILLRACE_REGISTRY_LOGINS): %w", ErrDenied, host, shown, host, err)
}

// clean makes an error's text fit for a log: without secrets, though a registry
// repeats them, without control characters and not endless.
func clean(err error, secrets ...string) error {
	text := err.Error()
	for _, secret := range secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	const most = 2000
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + " …"
	}
	if text == err.Error() {
		return err
	}
	return cleaned{text: text, error: err}
}

type cleaned struct {
	text string
	error
}

func (c cleaned) Error() string { return c.text }
func (c cleaned) Unwrap() error { return c.error }
