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
			got, err := publish(t, s, from, public, Tag{"1.0", true}, Tag{"latest", false})
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
	copied, err := s.Copy(t.Context(), from, public)
	if err != nil {
		t.Fatal(err)
	}
	f.forget()
	for _, tags := range [][]Tag{{{"2.0", true}, {"latest", true}}, {{"2.0", false}, {"1.0", true}}, {{"2.0", true}, {"1.0", false}, {"1.0", true}}} {
		_, digest, _ := strings.Cut(copied, "@")
		if err := s.CheckTags(t.Context(), public, digest, tags...); !errors.Is(err, ErrTaken) {
			t.Errorf("%v: error is %v, want ErrTaken", tags, err)
		}
		if err := s.Tag(t.Context(), copied, tags...); !errors.Is(err, ErrTaken) {
			t.Errorf("%v: error is %v, want ErrTaken", tags, err)
		}
	}
	if f.count("PUT", "")+f.count("POST", "") != 0 {
		t.Errorf("something was written: %v", f.asked)
	}
	for range 2 { // the second time there is nothing to do
		f.forget()
		if _, err := publish(t, s, from, public, Tag{"2.0", true}, Tag{"latest", false}, Tag{"latest", false}); err != nil {
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
	if _, err := s.Copy(t.Context(), public+":latest", public); err == nil {
		t.Error("an image was copied that is not named by digest")
	}
	if err := s.Tag(t.Context(), public+":latest", Tag{"x", false}); err == nil {
		t.Error("an image was tagged that is not named by digest")
	}
	for _, bad := range []string{"", "a b", "-a", ".a", "a/b", "a:b", strings.Repeat("a", 129), "sha256-" + strings.Repeat("0", 64)} {
		if err := s.Tag(t.Context(), copied, Tag{Name: bad}); err == nil {
			t.Errorf("tag %q was accepted", bad)
		}
	}
}

func publish(t *testing.T, s *Store, from, to string, tags ...Tag) (string, error) {
	t.Helper()
	image, err := s.Copy(t.Context(), from, to)
	if err != nil {
		return "", err
	}
	return image, s.Tag(t.Context(), image, tags...)
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
	got, err := publish(t, s, from, theirs.host()+"/acme/shop", Tag{"1.0", true})
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
