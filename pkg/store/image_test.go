package store

import (
	"errors"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
)

func TestImages(t *testing.T) {
	t.Parallel()
	for name, handler := range registries() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := serve(t, handler(t))
			s := openStore(t, Config{Registry: f.host(), Public: "registry.example.org"})
			img := randomImage(t)
			from, err := s.PushImage(t.Context(), "shop", img)
			if err != nil {
				t.Fatal(err)
			}
			digest, err := img.Digest()
			if err != nil || from != "registry.example.org/millrace/shop/image@"+digest.String() {
				t.Fatalf("image is %s, %v", from, err)
			}
			const public = "registry.example.org/acme/shop"
			if _, err := s.Digest(t.Context(), public+":1.0"); !errors.Is(err, ErrMissing) {
				t.Errorf("error is %v, want ErrMissing before it is published", err)
			}
			f.forget()
			got, err := s.Publish(t.Context(), from, public, []string{"1.0", "latest"}, false)
			if err != nil || got != public+"@"+digest.String() {
				t.Fatalf("published is %s, %v", got, err)
			}
			if f.count("PATCH", "") != 0 || f.count("GET", "/blobs/") > 1 { // the config is read
				t.Errorf("blobs were copied, not mounted: %v", f.asked)
			}
			manifests := slices.DeleteFunc(slices.Clone(f.asked), func(a string) bool { return !strings.HasPrefix(a, "PUT ") })
			if len(manifests) != 3 || !strings.Contains(manifests[0], digest.String()) {
				t.Errorf("manifests are put in the order %v, want the digest before the tags", manifests)
			}
			tags, err := s.Tags(t.Context(), public)
			if slices.Sort(tags); err != nil || strings.Join(tags, " ") != "1.0 latest" {
				t.Errorf("tags are %v, %v", tags, err)
			}
			if at, err := s.Digest(t.Context(), public+":latest"); err != nil || at != digest.String() {
				t.Errorf("latest is %s, %v", at, err)
			}
			if tags, err := s.Tags(t.Context(), "registry.example.org/acme/none"); err != nil || len(tags) != 0 {
				t.Errorf("tags of no repository are %v, %v", tags, err)
			}
			moveTags(t, s, f, public)
		})
	}
}

func moveTags(t *testing.T, s *Store, f *fake, public string) {
	t.Helper()
	from, err := s.PushImage(t.Context(), "shop", randomImage(t))
	if err != nil {
		t.Fatal(err)
	}
	f.forget()
	if _, err := s.Publish(t.Context(), from, public, []string{"2.0", "latest"}, false); !errors.Is(err, ErrTaken) {
		t.Errorf("error is %v, want ErrTaken", err)
	}
	if f.count("PUT", "")+f.count("POST", "") != 0 {
		t.Errorf("something was written: %v", f.asked)
	}
	for range 2 { // the second time there is nothing to do
		f.forget()
		if _, err := s.Publish(t.Context(), from, public, []string{"2.0", "latest"}, true); err != nil {
			t.Fatal(err)
		}
	}
	if f.count("PUT", "")+f.count("POST", "") != 0 {
		t.Errorf("something was written again: %v", f.asked)
	}
	for _, tag := range []string{"2.0", "latest"} {
		if at, err := s.Digest(t.Context(), public+":"+tag); err != nil || !strings.HasSuffix(from, at) {
			t.Errorf("%s is %s, %v, want %s", tag, at, err, from)
		}
	}
	if _, err := s.Publish(t.Context(), public+":latest", public, nil, false); err == nil {
		t.Error("an image was published that is not named by digest")
	}
}

// A base image of the registry is not fetched to be part of another image.
func TestImageOnBase(t *testing.T) {
	t.Parallel()
	for name, handler := range registries() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := serve(t, handler(t))
			s := openStore(t, Config{Registry: f.host()})
			base, err := s.PushImage(t.Context(), "base", randomImage(t))
			if err != nil {
				t.Fatal(err)
			}
			img, err := s.Image(t.Context(), base)
			if err != nil {
				t.Fatal(err)
			}
			layer, err := random.Layer(100, "application/vnd.oci.image.layer.v1.tar")
			if err != nil {
				t.Fatal(err)
			}
			if img, err = mutate.AppendLayers(img, layer); err != nil {
				t.Fatal(err)
			}
			f.forget()
			if _, err := s.PushImage(t.Context(), "shop", img); err != nil {
				t.Fatal(err)
			}
			if n := f.count("PATCH", ""); n != 2 {
				t.Errorf("%d blobs were sent, want the new layer and the config", n)
			}
			if _, err := s.Image(t.Context(), f.host()+"/none:latest"); !errors.Is(err, ErrMissing) {
				t.Errorf("error is %v, want ErrMissing", err)
			}
		})
	}
}

func TestPublishToAnotherRegistry(t *testing.T) {
	t.Parallel()
	ours, theirs := serve(t, onDisk(t)), serve(t, inMemory(t))
	s := openStore(t, Config{Registry: ours.host()})
	from, err := s.PushImage(t.Context(), "shop", randomImage(t))
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Publish(t.Context(), from, theirs.host()+"/acme/shop", []string{"1.0"}, false)
	if err != nil {
		t.Fatal(err)
	}
	img, err := s.Image(t.Context(), got)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 2 {
		t.Errorf("layers are %v, %v", layers, err)
	}
}

func randomImage(t *testing.T) v1.Image {
	t.Helper()
	img, err := random.Image(1024, 2)
	if err != nil {
		t.Fatal(err)
	}
	return img
}
