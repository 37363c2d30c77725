package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// trouble answers the first n requests that match as told.
func trouble(n int32, method, part string, answer func(http.ResponseWriter)) func(http.ResponseWriter, *http.Request) bool {
	var count atomic.Int32
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != method || !strings.Contains(r.URL.Path, part) || count.Add(1) > n {
			return false
		}
		_, _ = io.Copy(io.Discard, r.Body)
		answer(w)
		return true
	}
}

func status(code int) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) { w.WriteHeader(code) }
}

// drop ends the connection after what was answered so far.
func drop(w http.ResponseWriter) {
	if w.Header().Get("Content-Length") != "" {
		_ = http.NewResponseController(w).Flush()
	}
	panic(http.ErrAbortHandler)
}

func TestPassingTroubleIsRetried(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"ping 503":            trouble(2, http.MethodGet, "/v2/", status(http.StatusServiceUnavailable)),
		"look-up 500":         trouble(2, http.MethodHead, "/manifests/", status(http.StatusInternalServerError)),
		"upload 429":          trouble(2, http.MethodPost, "/uploads/", status(http.StatusTooManyRequests)),
		"upload 502":          trouble(2, http.MethodPatch, "/uploads/", status(http.StatusBadGateway)),
		"upload dropped":      trouble(2, http.MethodPatch, "/uploads/", drop),
		"commit dropped":      trouble(2, http.MethodPut, "/uploads/", drop),
		"manifest 503":        trouble(2, http.MethodPut, "/manifests/", status(http.StatusServiceUnavailable)),
		"manifest dropped":    trouble(2, http.MethodPut, "/manifests/", drop),
		"download 503":        trouble(2, http.MethodGet, "/blobs/", status(http.StatusServiceUnavailable)),
		"download, no answer": trouble(2, http.MethodGet, "/blobs/", drop),
		"download dropped": trouble(2, http.MethodGet, "/blobs/", func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "200000")
			_, _ = w.Write(make([]byte, 512)) // not what is there: the tar begins with a name
			drop(w)
		}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := serve(t, inMemory(t), first)
			f.Config.ErrorLog = nil
			s := openStore(t, Config{Registry: f.host()})
			tar := tarOf(t, strings.Repeat("hello", 1000))
			blob := put(t, s, Upload{App: "shop", Kind: Artifact, Tar: tar})
			got, err := get(t.Context(), s, blob)
			if name == "download dropped" { // the pieces do not fit
				if !errors.Is(err, ErrCorrupt) {
					t.Errorf("error is %v, want ErrCorrupt", err)
				}
				return
			}
			if err != nil || !bytes.Equal(got, content(t, tar)) {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
		})
	}
}

func TestDownloadGoesOn(t *testing.T) {
	t.Parallel()
	handler := inMemory(t)
	var drops atomic.Int32
	f := serve(t, handler, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") || drops.Add(1) > 3 {
			return false
		}
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, r)
		w.Header().Set("Content-Length", answer.Header().Get("Content-Length"))
		_, _ = w.Write(answer.Body.Bytes()[:1000*drops.Load()])
		drop(w)
		return true
	})
	s := openStore(t, Config{Registry: f.host()})
	tar := tarOf(t, strings.Repeat("hello", 10000))
	blob := put(t, s, Upload{App: "shop", Kind: Artifact, Tar: tar})
	if got, err := get(t.Context(), s, blob); err != nil || !bytes.Equal(got, content(t, tar)) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

func TestLastingTroubleIsTold(t *testing.T) {
	t.Parallel()
	gone := serve(t, inMemory(t))
	gone.Close()
	down := serve(t, inMemory(t), trouble(1000, http.MethodPost, "/uploads/", status(http.StatusServiceUnavailable)))
	locked := serve(t, inMemory(t), trouble(1000, http.MethodPost, "/uploads/", status(http.StatusUnauthorized)))
	for name, tt := range map[string]struct{ host, want string }{
		"no connection": {gone.host(), "connection refused"}, "unavailable": {down.host(), "503"}, "unauthorized": {locked.host(), "401"},
	} {
		_, err := openStore(t, Config{Registry: tt.host, Public: "registry.example.org"}).Put(t.Context(), Upload{App: "shop", Kind: Artifact, Tar: tarOf(t, "hello")})
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "store artifact of 2048 bytes in registry.example.org/millrace/shop/artifact") || !strings.Contains(err.Error(), tt.host) {
			t.Errorf("%s: error is %v, want one that says %q and where", name, err, tt.want)
		}
	}
	if n := locked.count("HEAD", "/manifests/"); n != 1 {
		t.Errorf("it was tried %d times without permission", n)
	}
}

// What the registry lost is sent again, though the pusher remembers sending it.
func TestRegistryThatForgets(t *testing.T) {
	t.Parallel()
	var current atomic.Pointer[http.Handler]
	renew := func() {
		handler := onDisk(t)
		current.Store(&handler)
	}
	renew()
	f := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*current.Load()).ServeHTTP(w, r) }))
	s := openStore(t, Config{Registry: f.host()})
	one := Upload{App: "shop", Kind: Artifact, Tar: tarOf(t, "hello")}
	first := put(t, s, one)
	renew()
	if again := put(t, s, one); again != first {
		t.Errorf("got %v, want %v", again, first)
	}
	renew() // a new manifest of blobs that the pusher knows
	one.Annotations = map[string]string{"a": "b"}
	if _, err := get(t.Context(), s, put(t, s, one)); err != nil {
		t.Error(err)
	}
	img := randomImage(t)
	if _, err := s.PushImage(t.Context(), "shop", img); err != nil {
		t.Fatal(err)
	}
	renew()
	if _, err := s.PushImage(t.Context(), "shop", img); err != nil {
		t.Error(err)
	}
}

// Two that send the same blob share the work, but not the order to stop.
func TestPushSurvivesSomebodyElsesEnd(t *testing.T) {
	t.Parallel()
	s := openStore(t, Config{Registry: serve(t, inMemory(t)).host()})
	repo, err := s.internal("shop", Artifact)
	if err != nil {
		t.Fatal(err)
	}
	m, err := newManifest(Upload{App: "shop", Kind: Artifact, Tar: tarOf(t, "hello")})
	if err != nil {
		t.Fatal(err)
	}
	digest, err := m.Digest()
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	err = s.push(t.Context(), repo.Digest(digest.String()), func(p *remote.Pusher) error {
		if sent++; sent == 1 {
			return fmt.Errorf("send: %w", context.Canceled)
		}
		return p.Put(t.Context(), repo.Digest(digest.String()), m)
	})
	if err != nil || sent != 2 {
		t.Errorf("sent %d times, %v", sent, err)
	}
	ctx, stop := context.WithCancel(t.Context())
	none := repo.Digest("sha256:" + strings.Repeat("0", 64))
	sent = 0
	err = s.push(ctx, none, func(*remote.Pusher) error {
		sent++
		stop()
		return ctx.Err()
	})
	if !errors.Is(err, context.Canceled) || sent != 1 {
		t.Errorf("sent %d times, %v, want our own order to be obeyed", sent, err)
	}
}
