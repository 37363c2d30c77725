package container

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log" //nolint:depguard // the registry wants one to keep quiet
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	layers "github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// relay stands between a client and the engine's socket.
type relay struct {
	address string
	mu      sync.Mutex
	conns   map[net.Conn]bool
	refused bool
	lost    string // path of the request whose first answer is lost
}

// refuse lets nobody through, or again.
func (r *relay) refuse(refused bool) {
	r.mu.Lock()
	r.refused = refused
	r.mu.Unlock()
	r.cut()
}

// lose cuts the connection instead of answering the next request to path.
func (r *relay) lose(path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost = path
}

// loses tells whether the answer to request is to be lost.
func (r *relay) loses(request []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	line, _, _ := bytes.Cut(request, []byte("\r\n"))
	if r.lost == "" || !bytes.Contains(line, []byte(r.lost)) {
		return false
	}
	r.lost = ""
	return true
}

func newRelay(t *testing.T) *relay {
	t.Helper()
	target, ok := strings.CutPrefix(client.DefaultDockerHost, "unix://")
	if !ok {
		t.Skip("the engine has no unix socket to stand before")
	}
	r := &relay{address: filepath.Join(t.TempDir(), "s"), conns: map[net.Conn]bool{}}
	l, err := net.Listen("unix", r.address)
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() { r.serve(c, target) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); r.cut(); work.Wait() })
	return r
}

func (r *relay) serve(c net.Conn, target string) {
	up, err := net.Dial("unix", target)
	if err != nil {
		_ = c.Close()
		return
	}
	r.mu.Lock()
	if r.refused {
		r.mu.Unlock()
		_, _ = c.Close(), up.Close()
		return
	}
	r.conns[c], r.conns[up] = true, true
	r.mu.Unlock()
	var both sync.WaitGroup
	var mute atomic.Bool
	requests := writerFunc(func(b []byte) (int, error) {
		if r.loses(b) {
			mute.Store(true)
		}
		return up.Write(b)
	})
	answers := writerFunc(func(b []byte) (int, error) {
		if mute.Load() {
			return 0, errors.New("lost")
		}
		return c.Write(b)
	})
	for _, way := range []struct {
		to   io.Writer
		from net.Conn
		end  net.Conn
	}{{answers, up, c}, {requests, c, up}} {
		both.Go(func() {
			if _, err := io.Copy(way.to, way.from); err != nil {
				_ = c.Close()
			}
			_ = way.end.(*net.UnixConn).CloseWrite()
		})
	}
	both.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range []net.Conn{c, up} {
		_ = x.Close()
		delete(r.conns, x)
	}
}

// cut ends all connections, as an engine does that restarts.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		_ = c.Close()
	}
}

// A connection that breaks is no verdict, with and without a gate.
func TestEngineGoesAway(t *testing.T) {
	t.Parallel()
	for _, sh := range []string{"/bin/sh", "/bin/ash"} {
		r := newRelay(t)
		e := connect(t, func(c *Config) { c.Host = "unix://" + r.address; c.Trouble = nil })
		s := open(t, e, Outside)
		step := s.Step(t.Context(), shell(Step{Shell: []string{sh, "-c"}, Run: []string{"echo here; sleep 100; exit 1"}}))
		exit, err := step.Run(t.Context(), writerFunc(func(b []byte) (int, error) { r.cut(); return len(b), nil }))
		if err == nil {
			t.Errorf("%s: got %+v, want an error", sh, exit)
		}
	}
}

// The first container of an engine may want more open files than it allows.
func TestOpenFiles(t *testing.T) {
	t.Parallel()
	for _, sh := range []string{"/bin/sh", "/bin/ash"} {
		e := connect(t)
		out, _ := run(t, open(t, e, Outside), Step{Shell: []string{sh, "-c"}, Run: []string{"ulimit -n"}})
		if want := nofileLimit(e.nofile.Load()); want != 0 && strings.TrimSpace(out) != strconv.FormatInt(want, 10) {
			t.Errorf("%s: got %q, want %d", sh, out, want)
		}
	}
}

// A process in a container joins the network of what it probes, and leaves it.
func TestSelf(t *testing.T) {
	t.Parallel()
	host := connect(t)
	self := start(t, host, App{Name: objectName("self"), Owner: Owner{App: "shop"}, Image: shellImage, Command: []string{"sleep", "100"}})
	e := connect(t, func(c *Config) { c.Self = self.ID[:12] })
	if e.self != self.ID {
		t.Fatalf("got %q, want %s", e.self, self.ID)
	}
	s := open(t, e, Private)
	if _, err := s.Service(t.Context(), Service{Name: "db", Image: shellImage, Command: httpd("80"), Ready: &Probe{HTTP: ":80/health"}}); err != nil {
		t.Fatal(err)
	}
	n, err := e.api.NetworkInspect(t.Context(), s.network, network.InspectOptions{})
	if err != nil || n.Containers[self.ID].IPv4Address == "" {
		t.Errorf("got %v, %v, want self among them", n.Containers, err)
	}
	s.Close(t.Context())
	if err := errors.Join(s.Wait(t.Context()), self.Refresh(t.Context())); err != nil {
		t.Fatal(err)
	}
	if len(self.Addresses) != 1 {
		t.Errorf("got %v, want only its own network", self.Addresses)
	}
	if got := host.findSelf(t.Context(), self.Name); got != "" {
		t.Errorf("a container with the name of a host was taken for this process")
	}
}

// A registry on loopback is asked in plain HTTP, with a password, by tag and digest.
func TestPull(t *testing.T) {
	t.Parallel()
	store := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != "secret" && r.Header.Get("X-Test") == "" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		store.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	repository := strings.TrimPrefix(server.URL, "http://") + "/acme/shop"
	digest := push(t, repository+":1")

	e := connect(t, func(c *Config) {
		c.Credentials = func(host string) (Auth, bool) {
			return Auth{Username: "me", Password: "secret"}, strings.HasPrefix(repository, host+"/")
		}
	})
	pinned := repository + "@" + digest
	t.Cleanup(func() {
		_ = e.RemoveImage(context.Background(), pinned)
		_ = e.RemoveImage(context.Background(), repository+":1")
	})
	img, err := e.Resolve(t.Context(), pinned, PullMissing)
	if err != nil || img.Pinned != pinned {
		t.Fatalf("got %+v, %v, want %s", img, err, pinned)
	}
	if img, err = e.Resolve(t.Context(), repository+":1", PullAlways); err != nil || img.Pinned != pinned {
		t.Errorf("got %+v, %v, want %s", img, err, pinned)
	}
	if _, err := e.Resolve(t.Context(), repository+":2", PullMissing); !errors.Is(err, ErrNoImage) {
		t.Errorf("got %v, want %v", err, ErrNoImage)
	}
	if err := e.Pull(t.Context(), repository+":1", Auth{Username: "me", Password: "wrong"}); err == nil || errors.Is(err, ErrNoImage) {
		t.Errorf("got %v with a wrong password", err)
	}
}

// push pushes a small image and returns its digest.
func push(t *testing.T, ref string) string {
	t.Helper()
	layer, err := layers.Layer(100, "application/vnd.docker.image.rootfs.diff.tar.gzip")
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, img, remote.WithContext(t.Context()), remote.WithTransport(withHeader{})); err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

// withHeader lets the test in without a password.
type withHeader struct{}

func (withHeader) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("X-Test", "1")
	return http.DefaultTransport.RoundTrip(r)
}
