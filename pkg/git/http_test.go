package git_test

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace-cd/millrace/pkg/git"
)

// backend is the smart HTTP server that comes with git.
func backend(t *testing.T, u *upstream) http.Handler {
	t.Helper()
	return &cgi.Handler{
		Path:   filepath.Join(u.git("--exec-path"), "git-http-backend"),
		Stderr: io.Discard,
		Env:    []string{"GIT_PROJECT_ROOT=" + filepath.Dir(u.dir), "GIT_HTTP_EXPORT_ALL=1", "HOME=/nonexistent"},
	}
}

// old speaks to clients as servers did that know protocol version 0 only, which
// hand out by hash nothing but what has a name.
func old(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Git-Protocol")
		next.ServeHTTP(w, r)
	})
}

func TestFetchByHTTP(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	first := u.commit("first")
	second := u.commit("second")
	for name, wrap := range map[string]func(http.Handler) http.Handler{
		"protocol 2": func(h http.Handler) http.Handler { return h },
		"protocol 0": old,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(wrap(backend(t, u)))
			t.Cleanup(server.Close)
			repository := server.URL + "/shop/.git"
			fetch(t, openGit(t, "http"), repository, first, "")
			fetch(t, openGit(t, "http"), repository, first, main)
			fetch(t, openGit(t, "http"), repository, second, "")
			for what, in := range map[string][3]string{
				"repository": {server.URL + "/none.git", first, main},
				"ref":        {repository, first, "refs/heads/none"},
				"commit":     {repository, strings.Repeat("0", 39) + "1", ""},
			} {
				if _, err := openGit(t, "http").Fetch(t.Context(), in[0], in[1], in[2]); !errors.Is(err, git.ErrNotFound) {
					t.Errorf("no such %s: error is %v, want ErrNotFound", what, err)
				}
			}
		})
	}
}

func TestFetchByHTTPS(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	hash := u.commit("first")
	handler := backend(t, u)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name, password, _ := r.BasicAuth(); name != "ada" || password != "s3cret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	server.Config.ErrorLog = nil
	host := strings.TrimPrefix(server.URL, "https://")
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens := map[string]string{host: "ada:s3cret"}
	for name, tt := range map[string]struct {
		cfg  git.Config
		want string // "" = success
	}{
		"bundle and token": {git.Config{CAFile: bundle, Tokens: tokens}, ""},
		"no bundle":        {git.Config{Tokens: tokens}, "certificate"},
		"no token":         {git.Config{CAFile: bundle}, "Authentication failed"},
		"other host's":     {git.Config{CAFile: bundle, Tokens: map[string]string{"example.org": "ada:s3cret"}}, "Authentication failed"},
		"wrong token":      {git.Config{CAFile: bundle, Tokens: map[string]string{host: "ada:wr0ng"}}, "Authentication failed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.cfg.Dir = t.TempDir()
			g, err := git.Open(tt.cfg)
			if err != nil {
				t.Fatal(err)
			}
			_, err = g.Fetch(t.Context(), server.URL+"/shop/.git", hash, main)
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || errors.Is(err, git.ErrNotFound) || errors.Is(err, git.ErrRefused) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want one of ours that says %q", err, tt.want)
			}
			if err != nil && (strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "wr0ng")) {
				t.Errorf("error tells the secret: %v", err)
			}
		})
	}
}

// Whose fault it is decides whether the delivery is tried again.
func TestFetchTrouble(t *testing.T) {
	t.Parallel()
	status := func(code int) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://127.0.0.1:1/r.git/info/refs?service=git-upload-pack")
			w.WriteHeader(code)
		}))
		t.Cleanup(server.Close)
		return server.URL + "/r.git"
	}
	hash := strings.Repeat("0", 39) + "1"
	for name, tt := range map[string]struct {
		repository string
		want       error // nil = ours
	}{
		"refused connection": {"http://" + closedPort(t) + "/r.git", nil},
		"unknown host":       {"http://host.invalid/r.git", nil},
		"server error":       {status(http.StatusInternalServerError), nil},
		"overload":           {status(http.StatusServiceUnavailable), nil},
		"forbidden":          {status(http.StatusForbidden), nil},
		"not found":          {status(http.StatusNotFound), git.ErrNotFound},
		"redirect":           {status(http.StatusFound), git.ErrRefused},
		"ssh, no server":     {"ssh://git@" + closedPort(t) + "/r.git", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := openGit(t, "http", "ssh").Fetch(t.Context(), tt.repository, hash, main)
			if ours := !errors.Is(err, git.ErrNotFound) && !errors.Is(err, git.ErrRefused); err == nil || ours != (tt.want == nil) || !ours && !errors.Is(err, tt.want) {
				t.Errorf("error is %v, want %v", err, tt.want)
			}
		})
	}
}

// The user of a URL can be a secret too, and git tells it in its errors.
func TestErrorsTellNoUser(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	repository := strings.Replace(server.URL, "://", "://t0ken@", 1) + "/r.git"
	_, err := openGit(t, "http").Fetch(t.Context(), repository, strings.Repeat("0", 40), main)
	if !errors.Is(err, git.ErrNotFound) || strings.Contains(err.Error(), "t0ken") {
		t.Errorf("error is %v, want ErrNotFound without the user", err)
	}
}

// A server that never answers: git and its helpers are stopped, and the mirror
// is fit for the next fetch.
func TestFetchKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	hash := u.commit("first")
	handler := backend(t, u)
	var hang atomic.Bool
	hang.Store(true)
	asked := make(chan struct{}, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && hang.Load() {
			_, _ = io.Copy(io.Discard, r.Body) // only then is the end of a connection seen
			asked <- struct{}{}
			<-r.Context().Done()
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	g := openGit(t, "http")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := g.Fetch(ctx, server.URL+"/shop/.git", hash, main)
		done <- err
	}()
	<-asked
	began := time.Now()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want canceled", err)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("it took %s to stop", took)
	}
	hang.Store(false)
	fetch(t, g, server.URL+"/shop/.git", hash, main)
}

func TestFetchTimeout(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(server.Close)
	g, err := git.Open(git.Config{Dir: t.TempDir(), Protocols: []string{"http"}, Timeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	_, err = g.Fetch(t.Context(), server.URL+"/r.git", strings.Repeat("0", 40), main)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "longer than 300ms") {
		t.Errorf("error is %v, want one that names the limit", err)
	}
}

func closedPort(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
