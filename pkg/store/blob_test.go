package store

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/olareg/olareg"
	"github.com/olareg/olareg/config"

	"github.com/millrace-cd/millrace/pkg/event"
)

func TestPutAndGet(t *testing.T) {
	t.Parallel()
	for name, handler := range registries() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := serve(t, handler(t))
			s := openStore(t, Config{Registry: f.host() + "/team", Public: "registry.example.org:5000/mirror"})
			tar := tarOf(t, "hello")
			up := Upload{App: "shop", Kind: Artifact, Tar: tar, Config: []byte(`{"files":[]}`)}
			blob := put(t, s, up)
			if want := (event.Blob{Repository: "registry.example.org:5000/mirror/millrace/shop/artifact", Digest: blob.Digest, Files: 1, Bytes: 5}); blob != want {
				t.Errorf("blob is %v, want %v", blob, want)
			}
			if f.count("PUT", "/v2/team/millrace/shop/artifact/manifests/"+blob.Digest) != 1 {
				t.Errorf("asked for %v", f.asked)
			}
			if got, err := get(t.Context(), s, blob); err != nil || !bytes.Equal(got, content(t, tar)) {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
			if got, err := s.Config(t.Context(), blob); err != nil || string(got) != `{"files":[]}` {
				t.Errorf("config is %s, %v", got, err)
			}
			f.forget()
			if again := put(t, s, up); again != blob {
				t.Errorf("the second time it is %v, want %v", again, blob)
			}
			if f.count("POST", "")+f.count("PUT", "") != 0 {
				t.Errorf("it was sent again: %v", f.asked)
			}
			// Another process, another app: nothing is known of what is there.
			other := put(t, openStore(t, Config{Registry: f.host() + "/team", Public: "registry.example.org:5000/mirror"}), Upload{App: "shop", Kind: Snapshot, Tar: tar})
			if got, err := s.Config(t.Context(), other); got != nil || err != nil {
				t.Errorf("config is %q, %v, want none", got, err)
			}
		})
	}
}

// The manifest of a blob is part of what events carry, so it does not change.
func TestManifest(t *testing.T) {
	t.Parallel()
	f := serve(t, inMemory(t))
	s := openStore(t, Config{Registry: f.host()})
	got := put(t, s, Upload{App: "shop", Kind: Snapshot, Tar: tarOf(t, "hello")})
	const want = "sha256:e436ea25cd0c770fcaa2358fc983dd949e0e41181448de3a82582b091dfda502"
	if got.Digest != want {
		t.Errorf("digest is %s, want %s", got.Digest, want)
	}
	if other := put(t, s, Upload{App: "shop", Kind: Snapshot, Tar: tarOf(t, "hello"), Annotations: map[string]string{"a": "b"}}); other.Digest == got.Digest {
		t.Error("annotations did not change the digest")
	}
}

func TestGetErrors(t *testing.T) {
	t.Parallel()
	for name, handler := range registries() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := serve(t, handler(t))
			s := openStore(t, Config{Registry: f.host()})
			blob := put(t, s, Upload{App: "shop", Kind: Artifact, Tar: tarOf(t, "hello")})
			none := blob
			none.Digest = "sha256:" + strings.Repeat("0", 64)
			if _, err := s.Get(t.Context(), none); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), none.Repository+"@"+none.Digest) {
				t.Errorf("error is %v, want ErrMissing that names it", err)
			}
			none.Repository = f.host() + "/millrace/none/artifact"
			if _, err := s.Get(t.Context(), none); !errors.Is(err, ErrMissing) {
				t.Errorf("error is %v, want ErrMissing", err)
			}
			for _, bad := range []event.Blob{
				{Repository: blob.Repository, Digest: "latest"},
				{Repository: "elsewhere.example.org/millrace/x/artifact", Digest: blob.Digest},
				{Repository: f.host() + "/other", Digest: blob.Digest},
				{},
			} {
				if _, err := s.Get(t.Context(), bad); err == nil || errors.Is(err, ErrMissing) {
					t.Errorf("%v: error is %v", bad, err)
				}
			}
			for _, app := range []string{"", "Shop", "a/b", "-a", "../a"} {
				if _, err := s.Put(t.Context(), Upload{App: app, Kind: Artifact, Tar: tarOf(t, "")}); err == nil {
					t.Errorf("app %q was accepted", app)
				}
			}
		})
	}
}

// swapped answers requests for a path with something else.
func swapped(part string, change func([]byte) []byte) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, part) {
				next.ServeHTTP(w, r)
				return
			}
			answer := httptest.NewRecorder()
			next.ServeHTTP(answer, r)
			w.Header().Set("Content-Type", answer.Header().Get("Content-Type"))
			w.WriteHeader(answer.Code)
			_, _ = w.Write(change(answer.Body.Bytes()))
		})
	}
}

func TestGetSeesCorruption(t *testing.T) {
	t.Parallel()
	flip := func(b []byte) []byte { b = slices.Clone(b); b[len(b)/2] ^= 1; return b }
	for name, tt := range map[string]struct {
		part   string
		change func([]byte) []byte
	}{
		"manifest":       {"/manifests/", flip},
		"tar":            {"/blobs/", flip},
		"shorter tar":    {"/blobs/", func(b []byte) []byte { return b[:len(b)-512] }},
		"longer tar":     {"/blobs/", func(b []byte) []byte { return append(slices.Clone(b), 0) }},
		"no tar":         {"/blobs/", func([]byte) []byte { return nil }},
		"other manifest": {"/manifests/", func([]byte) []byte { return []byte(`{"schemaVersion":2}`) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			handler := inMemory(t)
			good, bad := serve(t, handler), serve(t, swapped(tt.part, tt.change)(handler))
			up := Upload{App: "shop", Kind: Artifact, Tar: tarOf(t, "hello")}
			put(t, openStore(t, Config{Registry: good.host()}), up)
			s := openStore(t, Config{Registry: bad.host()})
			blob, err := s.Describe(up)
			if err != nil {
				t.Fatal(err)
			}
			_, err = get(t.Context(), s, blob)
			if !errors.Is(err, ErrCorrupt) || strings.Count(err.Error(), "sha256:") < 2 && name != "longer tar" { // which is not read to its end
				t.Errorf("error is %v, want ErrCorrupt with both digests", err)
			}
		})
	}
}

func TestRestartKeepsAll(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "registry")
	conf := config.Config{Storage: config.ConfigStorage{StoreType: config.StoreDir, RootDir: dir, GC: config.ConfigGC{Frequency: -1}}}
	server := olareg.New(conf)
	f := serve(t, server)
	blob := put(t, openStore(t, Config{Registry: f.host()}), Upload{App: "shop", Kind: Artifact, Tar: tarOf(t, "hello")})
	f.Close()
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	server = olareg.New(conf)
	t.Cleanup(func() { _ = server.Close() })
	f = serve(t, server)
	blob.Repository = f.host() + "/millrace/shop/artifact"
	if _, err := get(t.Context(), openStore(t, Config{Registry: f.host()}), blob); err != nil {
		t.Error(err)
	}
}
