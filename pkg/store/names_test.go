package store

import (
	"net/http"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ registry, public, name, reach string }{
		{"127.0.0.1:5000", "", "127.0.0.1:5000/a", "127.0.0.1:5000/a"},
		{"registry:5000", "localhost:5000", "localhost:5000/a/b:1", "registry:5000/a/b:1"},
		{"registry:5000", "localhost:5000", "localhost:50001/a", "localhost:50001/a"},
		{"registry:5000", "localhost:5000", "ghcr.io/a", "ghcr.io/a"},
		{"registry:5000/x", "reg.example.org/x", "reg.example.org/x/a", "registry:5000/x/a"},
		{"registry:5000/x", "reg.example.org/x", "reg.example.org/other", "registry:5000/other"},
		{"registry:5000/x", "reg.example.org/y", "reg.example.org/y/a", "registry:5000/x/a"},
		{"registry:5000/x", "reg.example.org/y", "reg.example.org/other", "reg.example.org/other"},
		{"registry:5000/x/", "reg.example.org/", "reg.example.org/a", "registry:5000/x/a"},
	} {
		s := openStore(t, Config{Registry: tt.registry, Public: tt.public})
		if got := s.Reach(tt.name); got != tt.reach {
			t.Errorf("%s for %s: %s is reached by %s, want %s", tt.registry, tt.public, tt.name, got, tt.reach)
		}
		if got := s.Public(tt.reach); got != tt.name {
			t.Errorf("%s for %s: %s is public as %s, want %s", tt.registry, tt.public, tt.reach, got, tt.name)
		}
	}
	for _, bad := range []string{"", "registry", "http://registry:5000", "registry:5000/UPPER", "a b:5000", "registry:port"} {
		if _, err := Open(Config{Registry: bad}); err == nil {
			t.Errorf("registry %q was accepted", bad)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Without TLS anybody on the way can read the credentials.
func TestPlainHTTP(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		registry string
		insecure bool
		ref      string
		want     bool // that plain http is spoken
	}{
		{"127.0.0.1:5000", false, "127.0.0.1:5000/a", true},
		{"localhost:5000", false, "localhost:5000/a", true},
		{"127.9.9.9:5000", false, "127.9.9.9:5000/a", true},
		{"[::1]:5000", false, "[::1]:5000/a", true},
		{"10.1.2.3:5000", false, "10.1.2.3:5000/a", false},
		{"registry.local:5000", false, "registry.local:5000/a", false},
		{"registry.example.org", false, "registry.example.org/a", false},
		{"10.1.2.3:5000", true, "10.1.2.3:5000/a", true},
		{"registry:5000", true, "registry:5000/a", true},
		{"registry:5000", true, "10.1.2.3:5000/a", false},
	} {
		plain := make(chan bool, 100)
		s := openStore(t, Config{Registry: tt.registry, Insecure: tt.insecure, Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.URL.Scheme == "http" {
				plain <- true
			}
			return nil, http.ErrHandlerTimeout
		})})
		_, err := s.Digest(t.Context(), tt.ref)
		if got := len(plain) > 0; got != tt.want || err == nil {
			t.Errorf("%s, insecure %t: plain http to %s is %t, want %t (%v)", tt.registry, tt.insecure, tt.ref, got, tt.want, err)
		}
		if private := strings.HasPrefix(tt.ref, "10."); private && !tt.want && !strings.Contains(err.Error(), "insecure") {
			t.Errorf("error is %v, want one that names the setting", err)
		}
	}
}
