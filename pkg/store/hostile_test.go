package store

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// afterwards does what a request asks for, and then ends the connection instead of
// answering; the first n times.
func afterwards(n int32, method, part string, handler http.Handler) func(http.ResponseWriter, *http.Request) bool {
	var count atomic.Int32
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != method || !strings.Contains(r.URL.Path, part) || count.Add(1) > n {
			return false
		}
		handler.ServeHTTP(httptest.NewRecorder(), r)
		drop(w)
		return true
	}
}

// What was stored without an answer is stored once, whatever is done again.
func TestAnswersGetLost(t *testing.T) {
	t.Parallel()
	for registry, handler := range registries() {
		for name, where := range map[string][2]string{
			"blob": {http.MethodPut, "/uploads/"}, "piece of a blob": {http.MethodPatch, "/uploads/"}, "manifest": {http.MethodPut, "/manifests/sha256:"},
			"tag": {http.MethodPut, "/manifests/1.0"}, "begin": {http.MethodPost, "/uploads/"},
		} {
			t.Run(registry+" "+name, func(t *testing.T) {
				t.Parallel()
				var mu sync.Mutex
				registry := handler(t)
				serial := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // olareg has data races of its own
					mu.Lock()
					defer mu.Unlock()
					registry.ServeHTTP(w, r)
				})
				f := serve(t, serial, afterwards(2, where[0], where[1], serial))
				s := openStore(t, Config{Registry: f.host()})
				img := randomImage(t)
				var first string
				for range 2 {
					from, err := s.PushImage(t.Context(), "shop", img)
					if err != nil {
						t.Fatal(err)
					}
					image, err := publish(t, s, from, f.host()+"/acme/shop", Tag{"1.0", true}, Tag{"latest", false})
					if err != nil {
						t.Fatal(err)
					}
					if first == "" {
						first = image
					}
					if at, err := s.Digest(t.Context(), f.host()+"/acme/shop:1.0"); err != nil || image != first || !strings.HasSuffix(image, at) {
						t.Errorf("image is %s, then %s, and 1.0 is %s, %v", first, image, at, err)
					}
				}
			})
		}
	}
}

// A busy registry is asked again when it says, not before.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	var begin, end atomic.Int64
	f := serve(t, inMemory(t), func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost {
			return false
		}
		now := time.Now().UnixNano()
		if begin.CompareAndSwap(0, now) || now-begin.Load() < int64(900*time.Millisecond) {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		}
		end.CompareAndSwap(0, now)
		return false
	})
	put(t, openStore(t, Config{Registry: f.host()}), Upload{App: "shop", Kind: Artifact, Tar: tarOf(t, "hello")})
	if waited := time.Duration(end.Load() - begin.Load()); waited < 900*time.Millisecond {
		t.Errorf("it was asked again after %s", waited)
	}
}

func TestRetryMuchLater(t *testing.T) {
	t.Parallel()
	f := serve(t, inMemory(t), trouble(1000, http.MethodHead, "/manifests/", func(w http.ResponseWriter) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	s := openStore(t, Config{Registry: f.host()})
	_, err := s.Put(t.Context(), Upload{App: "shop", Kind: Artifact, Tar: tarOf(t, "hello")})
	if err == nil || !strings.Contains(err.Error(), "asked again in 1h0m0s") || !strings.Contains(err.Error(), f.host()) {
		t.Errorf("error is %v, want one that says when to ask again", err)
	}
}

func TestReadRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"": 0, "5": 5 * time.Second, "-5": 0, "soon": 0, "9223372036854775807": 24 * time.Hour, "99999999999999999999": 0,
		"Fri, 02 Jan 2026 03:04:15 GMT": 10 * time.Second, "Fri, 02 Jan 2026 03:03:05 GMT": -time.Minute,
	} {
		if got := retryAfter(header, now); got != want {
			t.Errorf("Retry-After %q is %s, want %s", header, got, want)
		}
	}
}

// A tag that another one sets right after us.
func TestTagIsSwapped(t *testing.T) {
	t.Parallel()
	for name, handler := range registries() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var other atomic.Pointer[string]
			registry := handler(t)
			f := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if digest := other.Load(); digest != nil && r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifests/1.0") {
					r.URL.Path = strings.TrimSuffix(r.URL.Path, "1.0") + "2.0" // where it goes does not matter
				}
				registry.ServeHTTP(w, r)
			}))
			s := openStore(t, Config{Registry: f.host()})
			public := f.host() + "/acme/shop"
			if _, err := publish(t, s, pushed(t, s), public, Tag{"1.0", false}); err != nil {
				t.Fatal(err)
			}
			other.Store(new(string))
			image, err := publish(t, s, pushed(t, s), public, Tag{"1.0", false})
			if !errors.Is(err, ErrSwapped) || strings.Count(err.Error(), "sha256:") < 2 {
				t.Errorf("error is %v, want ErrSwapped with both digests", err)
			}
			if err := s.Tag(t.Context(), image, Tag{"1.0", true}); !errors.Is(err, ErrTaken) {
				t.Errorf("error is %v, want ErrTaken", err)
			}
		})
	}
}

// Some registries answer "forbidden" for what is not there. That must not let a
// fixed tag be overwritten.
func TestForbiddenTags(t *testing.T) {
	t.Parallel()
	var lists atomic.Bool
	f := serve(t, inMemory(t), func(w http.ResponseWriter, r *http.Request) bool {
		byTag := r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/acme/shop/manifests/") && !strings.Contains(r.URL.Path, "sha256:")
		if byTag || !lists.Load() && strings.HasSuffix(r.URL.Path, "/tags/list") {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	})
	s := openStore(t, Config{Registry: f.host()})
	image, err := s.Copy(t.Context(), pushed(t, s), f.host()+"/acme/shop")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Tag(t.Context(), image, Tag{"1.0", true}); !errors.Is(err, ErrDenied) || f.count("PUT", "/manifests/1.0") != 0 {
		t.Errorf("error is %v, want ErrDenied before anything is written", err)
	}
	lists.Store(true)
	if err := s.Tag(t.Context(), image, Tag{"1.0", true}); !errors.Is(err, ErrDenied) || f.count("PUT", "/manifests/1.0") != 1 { // written, and not to be read back
		t.Errorf("error is %v, want ErrDenied after it was written", err)
	}
	if err := s.Tag(t.Context(), image, Tag{"1.0", true}); !errors.Is(err, ErrDenied) || f.count("PUT", "/manifests/1.0") != 1 {
		t.Errorf("error is %v, want ErrDenied, since the tag is there", err)
	}
}

// What a registry says of a manifest does not count, but what it gives.
func TestRegistryLiesAboutDigests(t *testing.T) {
	t.Parallel()
	const wrong = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	lie := func(method string) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == method && strings.Contains(r.URL.Path, "/acme/shop/manifests/") {
					w = lying{w, wrong}
				}
				next.ServeHTTP(w, r)
			})
		}
	}
	for name, handler := range registries() {
		for method, want := range map[string]error{http.MethodPut: nil, http.MethodGet: nil, http.MethodHead: ErrCorrupt} {
			t.Run(name+" "+method, func(t *testing.T) {
				t.Parallel()
				f := serve(t, lie(method)(handler(t)))
				s := openStore(t, Config{Registry: f.host()})
				from := pushed(t, s)
				for range 2 {
					_, err := s.Copy(t.Context(), from, f.host()+"/acme/shop")
					if want == nil && err != nil {
						t.Error(err)
					}
				}
				if _, err := s.Copy(t.Context(), from, f.host()+"/acme/shop"); !errors.Is(err, want) {
					t.Errorf("error is %v, want %v", err, want)
				}
			})
		}
		t.Run(name+" another manifest", func(t *testing.T) {
			t.Parallel()
			f := serve(t, swapped("/acme/shop/manifests/", func(b []byte) []byte { return append(b, ' ') })(handler(t)))
			s := openStore(t, Config{Registry: f.host()})
			if _, err := s.Copy(t.Context(), pushed(t, s), f.host()+"/acme/shop"); !errors.Is(err, ErrCorrupt) {
				t.Errorf("error is %v, want ErrCorrupt", err)
			}
		})
	}
}

type lying struct {
	http.ResponseWriter

	digest string
}

func (l lying) WriteHeader(code int) {
	l.Header().Set("Docker-Content-Digest", l.digest)
	l.ResponseWriter.WriteHeader(code)
}

// A blob that was accepted and is gone is sent again; if it is gone for good, that is
// no success.
func TestRegistryForgetsABlob(t *testing.T) {
	t.Parallel()
	for name, handler := range registries() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			registry := handler(t)
			var after, forever atomic.Bool
			var lost atomic.Int32
			f := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				blob := r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/acme/shop/blobs/sha256:")
				if blob && after.Load() && (forever.Load() || lost.Add(1) <= 2) { // for the look, and for the sender's own
					w.WriteHeader(http.StatusNotFound)
					return
				}
				registry.ServeHTTP(w, r)
				if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/acme/shop/manifests/") {
					after.Store(true)
				}
			}))
			s := openStore(t, Config{Registry: f.host()})
			from := pushed(t, s)
			first, err := s.Copy(t.Context(), from, f.host()+"/acme/shop")
			if err != nil || lost.Load() < 2 {
				t.Errorf("%d blobs were lost, %v", lost.Load(), err)
			}
			if again, err := s.Copy(t.Context(), from, f.host()+"/acme/shop"); err != nil || again != first {
				t.Errorf("the second time it is %s, %v", again, err)
			}
			forever.Store(true)
			if _, err := s.Copy(t.Context(), from, f.host()+"/acme/shop"); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "was sent and accepted") {
				t.Errorf("error is %v, want ErrMissing", err)
			}
		})
	}
}

func TestEndlessAnswers(t *testing.T) {
	t.Parallel()
	f := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/tags/list"):
			w.Header().Set("Link", fmt.Sprintf(`<%s?last=x>; rel="next"`, r.URL.Path))
			_, _ = fmt.Fprintf(w, `{"name":"x","tags":[%s"z"]}`, strings.Repeat(`"a",`, 9999))
		case strings.Contains(r.URL.Path, "/manifests/") || strings.Contains(r.URL.Path, "/blobs/"):
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			for r.Context().Err() == nil {
				_, _ = w.Write(make([]byte, 1<<20))
			}
		}
	}))
	s := openStore(t, Config{Registry: f.host()})
	if _, err := s.Tags(t.Context(), f.host()+"/acme/shop"); !errors.Is(err, ErrTooLarge) {
		t.Errorf("error is %v, want ErrTooLarge", err)
	}
	if _, err := s.Image(t.Context(), f.host()+"/acme/shop:1"); !errors.Is(err, ErrTooLarge) {
		t.Errorf("error is %v, want ErrTooLarge", err)
	}
	if _, err := s.Image(t.Context(), f.host()+"/acme/shop@sha256:"+strings.Repeat("0", 64)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("error is %v, want ErrTooLarge", err)
	}
	if _, err := s.Blob(t.Context(), f.host()+"/acme/shop", "sha256:"+strings.Repeat("0", 64), 1000); !errors.Is(err, ErrTooLarge) {
		t.Errorf("error is %v, want ErrTooLarge", err)
	}
}

func TestHugeConfiguration(t *testing.T) {
	t.Parallel()
	f := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/manifests/") {
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			_, _ = fmt.Fprintf(w, `{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":1000000000,"digest":"sha256:%064d"},"layers":[]}`, 0)
		}
	}))
	if _, err := openStore(t, Config{Registry: f.host()}).Image(t.Context(), f.host()+"/acme/shop:1"); !errors.Is(err, ErrTooLarge) {
		t.Errorf("error is %v, want ErrTooLarge", err)
	}
}

// The text of an error ends in logs and terminals.
func TestErrorsAreClean(t *testing.T) {
	t.Parallel()
	f := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			return
		}
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(w, "\x1b[2J%s\n%s", password, strings.Repeat("x", 50_000))
	}))
	s := openStore(t, Config{Registry: f.host(), Logins: map[string]Login{f.host(): {user, password}}})
	_, err := s.Image(t.Context(), f.host()+"/acme/shop:1")
	if err == nil || strings.Contains(err.Error(), "s3cr3t") || strings.ContainsAny(err.Error(), "\x1b\n") || len(err.Error()) > 3000 {
		t.Errorf("error is %v", err)
	}
	if passing(err) || !strings.Contains(err.Error(), "400") {
		t.Errorf("error is %v, want one that can be told apart", err)
	}
}

func TestLastingTroubleLeavesNoTag(t *testing.T) {
	t.Parallel()
	for name, handler := range registries() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var healthy atomic.Bool
			f := serve(t, handler(t), func(w http.ResponseWriter, r *http.Request) bool {
				if healthy.Load() || r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/acme/shop/manifests/sha256:") {
					return false
				}
				w.WriteHeader(http.StatusInternalServerError)
				return true
			})
			s := openStore(t, Config{Registry: f.host()})
			from := pushed(t, s)
			if _, err := publish(t, s, from, f.host()+"/acme/shop", Tag{"1.0", true}); err == nil || !strings.Contains(err.Error(), "500") {
				t.Errorf("error is %v, want one that says 500", err)
			}
			if tags, err := s.Tags(t.Context(), f.host()+"/acme/shop"); err != nil || len(tags) != 0 {
				t.Errorf("tags are %v, %v, want none", tags, err)
			}
			healthy.Store(true)
			if _, err := publish(t, s, from, f.host()+"/acme/shop", Tag{"1.0", true}); err != nil {
				t.Error(err)
			}
		})
	}
}

// Some registries do not describe a manifest without giving it.
func TestRegistryWithoutHead(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"refused": func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return true
		},
		"mute": func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			w.Header().Set("Content-Length", "5")
			w.WriteHeader(http.StatusOK)
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := serve(t, inMemory(t), func(w http.ResponseWriter, r *http.Request) bool {
				return r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/manifests/") && change(w, r)
			})
			s := openStore(t, Config{Registry: f.host()})
			image, err := publish(t, s, pushed(t, s), f.host()+"/acme/shop", Tag{"1.0", true})
			if err != nil {
				t.Fatal(err)
			}
			if at, err := s.Digest(t.Context(), f.host()+"/acme/shop:1.0"); err != nil || !strings.HasSuffix(image, at) {
				t.Errorf("1.0 is %s, %v, want %s", at, err, image)
			}
		})
	}
}

// Waiting for a busy registry ends with the caller's patience.
func TestWaitIsStopped(t *testing.T) {
	t.Parallel()
	b := &busy{until: map[string]time.Time{"a": time.Now().Add(time.Hour), "b": time.Now().Add(-time.Hour)}}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := b.wait(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want that it was stopped", err)
	}
	if err := errors.Join(b.wait(ctx, "b"), b.wait(ctx, "c")); err != nil || len(b.until) != 1 {
		t.Errorf("it waits for %v, %v", b.until, err)
	}
}
