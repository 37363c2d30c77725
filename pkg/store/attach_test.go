package store

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/registry"
)

const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// withReferrers are registries with and without the referrers API.
func withReferrers() map[string]func(*testing.T) http.Handler {
	all := registries() // ggcr's lacks it
	all["ggcr with referrers"] = func(*testing.T) http.Handler {
		return registry.New(registry.WithReferrersSupport(true), registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)))
	}
	return all
}

func pushed(t *testing.T, s *Store) string {
	t.Helper()
	image, err := s.PushImage(t.Context(), "shop", randomImage(t))
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func attachment(subject, text string) Attachment {
	return Attachment{
		Subject: subject, Type: bundleType, Annotations: map[string]string{"org.example.stage": text},
		Layers: []Layer{{Type: bundleType, Data: []byte(text)}, {Type: "text/plain", Data: nil}},
	}
}

func TestAttach(t *testing.T) {
	t.Parallel()
	for name, handler := range withReferrers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := serve(t, handler(t))
			s := openStore(t, Config{Registry: f.host(), Public: "registry.example.org"})
			subject := pushed(t, s)
			if got, err := s.Attached(t.Context(), subject, bundleType); err != nil || len(got) != 0 {
				t.Errorf("attached is %v, %v, want nothing", got, err)
			}
			want := map[string]string{}
			for _, text := range []string{"one", "two", "one"} {
				digest, err := s.Attach(t.Context(), attachment(subject, text))
				if err != nil {
					t.Fatal(err)
				}
				want[digest] = text
			}
			if len(want) != 2 {
				t.Errorf("the same has several digests: %v", want)
			}
			other := attachment(subject, "other")
			other.Type = "application/vnd.example.other"
			if _, err := s.Attach(t.Context(), other); err != nil {
				t.Fatal(err)
			}
			f.forget()
			if _, err := s.Attach(t.Context(), attachment(subject, "two")); err != nil || f.count("PUT", "")+f.count("POST", "") != 0 {
				t.Errorf("what is there was sent again: %v, %v", f.asked, err)
			}
			got, err := s.Attached(t.Context(), subject, bundleType)
			if err != nil || len(got) != 2 || !slices.IsSortedFunc(got, func(a, b Attached) int { return strings.Compare(a.Digest, b.Digest) }) {
				t.Fatalf("attached is %v, %v", got, err)
			}
			for _, a := range got {
				if a.Type != bundleType || a.Annotations["org.example.stage"] != want[a.Digest] {
					t.Errorf("attached is %v, want %q", a, want[a.Digest])
				}
				layers, err := s.Layers(t.Context(), "registry.example.org/millrace/shop/image", a.Digest, maxLayer)
				if diff := cmp.Diff(attachment(subject, want[a.Digest]).Layers, layers, equateNil()); diff != "" || err != nil {
					t.Errorf("layers of %s: %v\n%s", a.Digest, err, diff)
				}
			}
			if tags, err := s.Tags(t.Context(), "registry.example.org/millrace/shop/image"); err != nil || len(tags) != 0 {
				t.Errorf("tags are %v, %v, want none", tags, err)
			}
		})
	}
}

func equateNil() cmp.Option {
	return cmp.Comparer(func(a, b []byte) bool { return bytes.Equal(a, b) })
}

// The digest is part of what others sign and store, so it does not change.
func TestAttachmentManifest(t *testing.T) {
	t.Parallel()
	s := openStore(t, Config{Registry: serve(t, inMemory(t)).host()})
	blob := put(t, s, Upload{App: "shop", Kind: Artifact, Tar: tarOf(t, "hello")})
	got, err := s.Attach(t.Context(), attachment(blob.Repository+"@"+blob.Digest, "one"))
	const want = "sha256:1c5489a5f3fb27adcf8a263ff2dea07ab525def186f03091244a28a9e4cc8cca"
	if err != nil || got != want {
		t.Errorf("digest is %s, %v, want %s", got, err, want)
	}
}

func TestAttachErrors(t *testing.T) {
	t.Parallel()
	for name, handler := range withReferrers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openStore(t, Config{Registry: serve(t, handler(t)).host()})
			subject := pushed(t, s)
			repository, _, _ := strings.Cut(subject, "@")
			none := repository + "@sha256:" + strings.Repeat("0", 64)
			if _, err := s.Attach(t.Context(), attachment(none, "x")); !errors.Is(err, ErrMissing) {
				t.Errorf("error is %v, want ErrMissing", err)
			}
			if _, err := s.Attached(t.Context(), none, bundleType); !errors.Is(err, ErrMissing) {
				t.Errorf("error is %v, want ErrMissing", err)
			}
			if _, err := s.Layers(t.Context(), repository, "sha256:"+strings.Repeat("0", 64), maxLayer); !errors.Is(err, ErrMissing) {
				t.Errorf("error is %v, want ErrMissing", err)
			}
			big := attachment(subject, "x")
			big.Layers[0].Data = make([]byte, maxLayer+1)
			many := attachment(subject, "x")
			many.Layers = slices.Repeat(many.Layers, maxLayers)
			wide := attachment(subject, "x")
			wide.Annotations["x"] = strings.Repeat("x", maxAttachment)
			for name, bad := range map[string]Attachment{
				"big": big, "many": many, "wide": wide, "no layers": {Subject: subject, Type: bundleType}, "no type": {Subject: subject, Layers: many.Layers[:1]}, "tag": attachment(repository+":latest", "x"),
			} {
				if _, err := s.Attach(t.Context(), bad); err == nil {
					t.Errorf("%s: it was accepted", name)
				}
			}
		})
	}
}

func TestAttachAtTheSameTime(t *testing.T) {
	t.Parallel()
	for name, handler := range withReferrers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := serve(t, handler(t))
			s := openStore(t, Config{Registry: f.host()})
			subject := pushed(t, s)
			f.forget()
			var all sync.WaitGroup
			for i := range 20 {
				all.Go(func() {
					if _, err := s.Attach(t.Context(), attachment(subject, fmt.Sprint(i/2))); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if got, err := s.Attached(t.Context(), subject, bundleType); err != nil || len(got) != 10 {
				t.Errorf("%d are attached, %v, want 10", len(got), err)
			}
			if name == "ggcr" {
				inTurn(t, f)
			}
		})
	}
}

// inTurn checks that each attachment was listed before the next one was sent.
func inTurn(t *testing.T, f *fake) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	var puts []string
	for _, a := range f.asked {
		if strings.HasPrefix(a, "PUT ") && strings.Contains(a, "/manifests/") {
			puts = append(puts, a)
		}
	}
	for i, put := range puts {
		if listed := strings.Contains(put, "/manifests/"+fallbackPrefix); listed != (i%2 == 1) {
			t.Fatalf("attachments overtake each other: %q", puts)
		}
	}
}

// Who sent the attachment may have ended before it was listed.
func TestAttachListsWhatIsThere(t *testing.T) {
	t.Parallel()
	var down atomic.Bool
	f := serve(t, inMemory(t), func(w http.ResponseWriter, r *http.Request) bool {
		if down.Load() && r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/"+fallbackPrefix) {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	})
	s := openStore(t, Config{Registry: f.host()})
	subject := pushed(t, s)
	down.Store(true)
	if _, err := s.Attach(t.Context(), attachment(subject, "x")); !errors.Is(err, ErrDenied) {
		t.Errorf("error is %v, want ErrDenied", err)
	}
	down.Store(false)
	digest, err := s.Attach(t.Context(), attachment(subject, "x"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Attached(t.Context(), subject, bundleType)
	if err != nil || len(got) != 1 || got[0].Digest != digest {
		t.Errorf("attached is %v, %v, want %s", got, err, digest)
	}
}

func TestAttachedHasALimit(t *testing.T) {
	t.Parallel()
	var n atomic.Int32
	f := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			return
		}
		var list []string
		for i := range n.Load() {
			list = append(list, fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1,"digest":"sha256:%064d","artifactType":%q}`, i, bundleType))
		}
		w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		_, _ = fmt.Fprintf(w, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[%s]}`, strings.Join(list, ","))
	}))
	s := openStore(t, Config{Registry: f.host()})
	subject := f.host() + "/acme/shop@sha256:" + strings.Repeat("0", 64)
	for count, want := range map[int32]error{64: nil, maxListed: nil, maxListed + 1: ErrTooLarge} {
		n.Store(count)
		if got, err := s.Attached(t.Context(), subject, bundleType); !errors.Is(err, want) || want == nil && len(got) != int(count) {
			t.Errorf("%d are attached, and %d are listed, %v", count, len(got), err)
		}
	}
}

func TestBlob(t *testing.T) {
	t.Parallel()
	for name, handler := range registries() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			theirs := handler(t)
			good := serve(t, theirs)
			bad := serve(t, swapped("/blobs/", func(b []byte) []byte { b = slices.Clone(b); b[0] ^= 1; return b })(theirs))
			put(t, openStore(t, Config{Registry: good.host()}), Upload{App: "shop", Kind: Artifact, Tar: tarOf(t, "hello"), Config: []byte(`{"a":"b"}`)})
			s := openStore(t, Config{Registry: "registry.example.org"}) // of other registries
			digest := bytesLayer([]byte(`{"a":"b"}`), "").digest.String()
			for _, tt := range []struct {
				host, digest string
				limit        int64
				want         error
			}{
				{good.host(), digest, 9, nil},
				{good.host(), digest, 8, ErrTooLarge},
				{good.host(), "sha256:" + strings.Repeat("0", 64), 9, ErrMissing},
				{bad.host(), digest, 9, ErrCorrupt},
			} {
				got, err := s.Blob(t.Context(), tt.host+"/millrace/shop/artifact", tt.digest, tt.limit)
				if !errors.Is(err, tt.want) || err == nil && string(got) != `{"a":"b"}` {
					t.Errorf("%v: got %s, %v", tt, got, err)
				}
			}
			if _, err := s.Blob(t.Context(), good.host()+"/millrace/shop/artifact", "latest", 9); err == nil {
				t.Error("a tag was taken for a digest")
			}
		})
	}
}

// What others attach is bounded before it is read.
func TestLayersOfStrangers(t *testing.T) {
	t.Parallel()
	answers := map[string]string{ // by name of the repository
		"layer":  `{"schemaVersion":2,"layers":[{"mediaType":"a/b","size":16777217,"digest":"sha256:` + strings.Repeat("0", 64) + `"}]}`,
		"layers": `{"schemaVersion":2,"layers":[` + strings.Repeat(`{"mediaType":"a/b","size":1,"digest":"sha256:`+strings.Repeat("0", 64)+`"},`, maxLayers) + `{}]}`,
		"long":   `{"schemaVersion":2,"layers":[],"annotations":{"a":"` + strings.Repeat("a", maxAttachment) + `"}}`,
		"longer": `{"schemaVersion":2,"layers":[],"annotations":{"a":"` + strings.Repeat("a", maxAnswer) + `"}}`,
		"less":   `{"schemaVersion":2,"layers":[{"mediaType":"a/b","size":-5,"digest":"sha256:` + strings.Repeat("0", 64) + `"}]}`,
		"text":   `hello`,
	}
	f := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if answer, ok := answers[strings.TrimPrefix(strings.Split(r.URL.Path, "/manifests/")[0], "/v2/")]; ok {
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			_, _ = w.Write([]byte(answer))
		}
	}))
	s := openStore(t, Config{Registry: f.host()})
	for _, name := range slices.Sorted(maps.Keys(answers)) {
		digest := bytesLayer([]byte(answers[name]), "").digest.String()
		want := ErrTooLarge
		if name == "less" || name == "text" {
			want = ErrCorrupt
		}
		if got, err := s.Layers(t.Context(), f.host()+"/"+name, digest, maxLayer); !errors.Is(err, want) {
			t.Errorf("%s: got %d layers, %v, want %v", name, len(got), err, want)
		}
	}
}
