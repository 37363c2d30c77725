package store

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

const (
	user     = "deployer"
	password = "s3cr3t:pass word"
)

// asDocker is Docker's configuration with one login, or none.
type asDocker struct {
	host string
	auth authn.AuthConfig
}

func (k asDocker) Resolve(target authn.Resource) (authn.Authenticator, error) {
	if target.RegistryStr() != k.host {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(k.auth), nil
}

// locked lets only those in who show the login.
func locked(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="here"`)
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprintf(w, `{"errors":[{"code":"UNAUTHORIZED","message":"not %s"}]}`, p) // as bad ones do
			return
		}
		next.ServeHTTP(w, r)
	})
}

func TestBasicLogin(t *testing.T) {
	t.Parallel()
	for name, handler := range registries() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ours, theirs := serve(t, onDisk(t)), serve(t, locked(handler(t)))
			plain := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
			for name, cfg := range map[string]Config{
				"logins": {Logins: map[string]Login{theirs.host(): {user, password}}, Keychain: asDocker{host: theirs.host(), auth: authn.AuthConfig{Username: user, Password: "old"}}},
				"docker": {Keychain: asDocker{host: theirs.host(), auth: authn.AuthConfig{Username: user, Password: password}}},
				"auth":   {Keychain: asDocker{host: theirs.host(), auth: authn.AuthConfig{Auth: plain}}},
			} {
				cfg.Registry = ours.host()
				s := openStore(t, cfg)
				image, err := publish(t, s, pushed(t, s), theirs.host()+"/acme/shop", Tag{"1", false})
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if _, err := s.Attach(t.Context(), attachment(image, "x")); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if u, p, ok := s.Credentials(theirs.host()); !ok || u != user || p != password {
					t.Errorf("%s: the engine gets %s, %s, %t", name, u, p, ok)
				}
			}
			for name, tt := range map[string]struct {
				cfg  Config
				want string
			}{
				"none":  {Config{}, "no login was shown"},
				"wrong": {Config{Logins: map[string]Login{theirs.host(): {user, "wr0ng"}}}, `the login of user "deployer" does not suffice`},
				"token": {Config{Keychain: asDocker{host: theirs.host(), auth: authn.AuthConfig{RegistryToken: "t0ken"}}}, "the token that was shown does not suffice"},
			} {
				tt.cfg.Registry = ours.host()
				if tt.cfg.Keychain == nil {
					tt.cfg.Keychain = asDocker{}
				}
				s := openStore(t, tt.cfg)
				_, err := s.Copy(t.Context(), pushed(t, s), theirs.host()+"/acme/shop")
				if !errors.Is(err, ErrDenied) {
					t.Fatalf("%s: error is %v, want ErrDenied", name, err)
				}
				for _, words := range []string{tt.want, theirs.host(), "docker login " + theirs.host(), "MILLRACE_REGISTRY_LOGINS"} {
					if !strings.Contains(err.Error(), words) {
						t.Errorf("%s: error is %v, without %q", name, err, words)
					}
				}
				if strings.Contains(err.Error(), "wr0ng") || strings.Contains(err.Error(), "t0ken") {
					t.Errorf("%s: error gives the login away: %v", name, err)
				}
			}
		})
	}
}

// A login that is given later is taken without a restart.
func TestLoginIsLookedUpAgain(t *testing.T) {
	t.Parallel()
	f := serve(t, locked(inMemory(t)))
	docker := &asDocker{}
	s := openStore(t, Config{Registry: f.host(), Keychain: docker})
	up := Upload{App: "shop", Kind: Artifact, Tar: tarOf(t, "hello")}
	if _, err := s.Put(t.Context(), up); !errors.Is(err, ErrDenied) {
		t.Errorf("error is %v, want ErrDenied", err)
	}
	docker.host, docker.auth = f.host(), authn.AuthConfig{Username: user, Password: password}
	put(t, s, up)
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	s := openStore(t, Config{
		Registry: "registry:5000", Public: "registry.example.org/mirror", Insecure: true,
		Logins:   map[string]Login{"registry.example.org": {"a", "b"}, "docker.io": {"c", "d"}},
		Keychain: asDocker{host: "ghcr.io", auth: authn.AuthConfig{IdentityToken: "t0ken"}},
	})
	for host, want := range map[string]string{
		"registry.example.org": "a b", "registry:5000": "a b", "docker.io": "c d", name.DefaultRegistry: "c d", "registry-1.docker.io": "c d",
		"ghcr.io": "", "quay.io": "", "registry.example.org:443": "", "": "",
	} {
		u, p, ok := s.Credentials(host)
		if got := strings.TrimSpace(u + " " + p); got != want || ok != (want != "") {
			t.Errorf("login for %q is %q, %t, want %q", host, got, ok, want)
		}
	}
	public := openStore(t, Config{Registry: "registry:5000", Public: "registry.example.org", Keychain: asDocker{host: "registry.example.org", auth: authn.AuthConfig{Username: "a", Password: "b"}}})
	if u, _, ok := public.Credentials("registry:5000"); !ok || u != "a" {
		t.Errorf("the public name's login is not the registry's: %s, %t", u, ok)
	}
}

func TestLoginIsNotPrinted(t *testing.T) {
	t.Parallel()
	cfg := Config{Logins: map[string]Login{"ghcr.io": {user, password}}}
	data, err := json.Marshal(cfg.Logins)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(data), fmt.Sprint(cfg), fmt.Sprintf("%v %+v %#v %s %q", cfg, cfg, cfg, cfg.Logins, cfg.Logins)} {
		if strings.Contains(text, "s3cr3t") || !strings.Contains(text, user) {
			t.Errorf("printed as %s", text)
		}
	}
}

// tokens is a token server, and a registry that wants its tokens.
type tokens struct {
	next  http.Handler
	realm string

	mu     sync.Mutex
	given  map[string][]string // scopes by token
	denied []string
}

func (k *tokens) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/token" {
		k.give(w, r)
		return
	}
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	k.mu.Lock()
	scopes := k.given[token]
	k.mu.Unlock()
	want := wanted(r)
	if token != "" && scopes != nil && (want == "" || slices.ContainsFunc(scopes, func(s string) bool { return covers(s, want) })) {
		k.next.ServeHTTP(w, r)
		return
	}
	k.mu.Lock()
	k.denied = append(k.denied, r.Method+" "+r.URL.Path)
	k.mu.Unlock()
	w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="registry",scope=%q`, k.realm, want))
	w.WriteHeader(http.StatusUnauthorized)
}

func (k *tokens) give(w http.ResponseWriter, r *http.Request) {
	if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	token := fmt.Sprintf("token-%d", len(k.given))
	k.given[token] = append([]string{}, r.URL.Query()["scope"]...)
	_, _ = fmt.Fprintf(w, `{"token":%q}`, token)
}

// wanted is the scope that a request needs.
func wanted(r *http.Request) string {
	repository := strings.TrimPrefix(r.URL.Path, "/v2/")
	for _, part := range []string{"/manifests/", "/blobs/", "/tags/", "/referrers/"} {
		repository, _, _ = strings.Cut(repository, part)
	}
	switch {
	case repository == "":
		return ""
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		return "repository:" + repository + ":pull"
	}
	return "repository:" + repository + ":push,pull"
}

func covers(given, want string) bool {
	return given == want || strings.Contains(want, ":pull") && given == strings.TrimSuffix(want, "pull")+"push,pull"
}

func TestTokenLogin(t *testing.T) {
	t.Parallel()
	for name, handler := range registries() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := &tokens{next: handler(t), given: map[string][]string{}}
			f := serve(t, k)
			_, port, _ := strings.Cut(f.host(), ":")
			k.realm = "http://localhost:" + port + "/token" // another host than the registry
			s := openStore(t, Config{Registry: f.host(), Logins: map[string]Login{f.host(): {user, password}}})
			f.forget()
			image, err := publish(t, s, pushed(t, s), f.host()+"/acme/shop", Tag{"1", true})
			if err != nil {
				t.Fatal(err)
			}
			if n := f.count("PATCH", "/acme/shop/"); n != 0 {
				t.Errorf("%d blobs were sent, not mounted", n)
			}
			if _, err := s.Attach(t.Context(), attachment(image, "x")); err != nil {
				t.Error(err)
			}
			wrong := openStore(t, Config{Registry: f.host(), Logins: map[string]Login{f.host(): {user, "wr0ng"}}})
			if _, err := wrong.Image(t.Context(), image); !errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), "docker login "+f.host()) || strings.Contains(err.Error(), "wr0ng") {
				t.Errorf("error is %v, want ErrDenied that says what to do", err)
			}
			// Tokens expire.
			k.mu.Lock()
			clear(k.given)
			k.mu.Unlock()
			if _, err := s.Image(t.Context(), image); err != nil {
				t.Error(err)
			}
		})
	}
}

// A registry that keeps its blobs elsewhere does not get our login there.
func TestLoginsDoNotFollow(t *testing.T) {
	t.Parallel()
	for name, handler := range registries() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			registry := handler(t)
			var mu sync.Mutex
			seen := map[string]int{}
			elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				seen[r.Method]++
				mu.Unlock()
				if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" {
					t.Errorf("%s %s has a login", r.Method, r.URL)
				}
				registry.ServeHTTP(w, r)
			}))
			t.Cleanup(elsewhere.Close)
			f := serve(t, locked(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
					http.Redirect(w, r, elsewhere.URL+r.URL.RequestURI(), http.StatusTemporaryRedirect)
					return
				}
				registry.ServeHTTP(moved{w, elsewhere.URL}, r)
			})))
			s := openStore(t, Config{Registry: f.host(), Logins: map[string]Login{f.host(): {user, password}}})
			tar := tarOf(t, "hello")
			blob := put(t, s, Upload{App: "shop", Kind: Artifact, Tar: tar})
			if got, err := get(t.Context(), s, blob); err != nil || string(got) != string(content(t, tar)) {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
			if seen["GET"] == 0 || seen["PATCH"] == 0 || seen["PUT"] == 0 {
				t.Errorf("nothing went elsewhere: %v", seen)
			}
		})
	}
}

// moved is an answer that sends uploads elsewhere.
type moved struct {
	http.ResponseWriter

	to string
}

func (m moved) WriteHeader(code int) {
	if at, err := url.Parse(m.Header().Get("Location")); err == nil && code == http.StatusAccepted {
		m.Header().Set("Location", m.to+at.RequestURI())
	}
	m.ResponseWriter.WriteHeader(code)
}
