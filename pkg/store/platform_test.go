package store

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

func imageOf(t *testing.T, architecture, variant string) v1.Image {
	t.Helper()
	img := randomImage(t)
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = "linux", architecture, variant
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}

// indexOf is an index as build tools make them: with an attestation among the images.
func indexOf(t *testing.T, images map[string]v1.Image) v1.ImageIndex {
	t.Helper()
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
		Add: randomImage(t), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"}},
	})
	for platform, img := range images {
		p, err := v1.ParsePlatform(platform)
		if err != nil {
			t.Fatal(err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: p}})
	}
	return index
}

func TestIndexes(t *testing.T) {
	t.Parallel()
	for name, handler := range registries() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ours, theirs := serve(t, handler(t)), serve(t, inMemory(t))
			s := openStore(t, Config{Registry: ours.host()})
			images := map[string]v1.Image{
				"linux/" + runtime.GOARCH: imageOf(t, runtime.GOARCH, ""), "linux/s390x": imageOf(t, "s390x", ""), "linux/arm/v6": imageOf(t, "arm", "v6"), "linux/arm/v7": imageOf(t, "arm", "v7"),
			}
			index := indexOf(t, images)
			from, err := s.PushIndex(t.Context(), "shop", index)
			if err != nil {
				t.Fatal(err)
			}
			if digest, err := index.Digest(); err != nil || from != ours.host()+"/millrace/shop/image@"+digest.String() {
				t.Errorf("index is %s, %v", from, err)
			}
			ours.forget()
			near, err := publish(t, s, from, ours.host()+"/acme/shop", Tag{"1.0", true})
			if err != nil {
				t.Fatal(err)
			}
			if ours.count("PATCH", "") != 0 {
				t.Errorf("blobs were copied, not mounted: %v", ours.asked)
			}
			far, err := publish(t, s, from, theirs.host()+"/acme/shop", Tag{"1.0", true})
			if err != nil {
				t.Fatal(err)
			}
			for _, ref := range []string{near, far, theirs.host() + "/acme/shop:1.0"} {
				for platform, want := range images {
					checkPlatform(t, s, ref, platform, want)
				}
				checkPlatform(t, s, ref, "", images["linux/"+runtime.GOARCH])
			}
			for platform, want := range map[string]error{"linux/riscv64": ErrPlatform, "linux/arm/v5": ErrPlatform, "windows/s390x": ErrPlatform, "unknown/unknown": ErrPlatform} {
				if _, err := s.ImageFor(t.Context(), far, platform); !errors.Is(err, want) || !strings.Contains(err.Error(), platform) || !strings.Contains(err.Error(), "linux/s390x") {
					t.Errorf("%s: error is %v, want %v that says what there is", platform, err, want)
				}
			}
		})
	}
}

func checkPlatform(t *testing.T, s *Store, ref, platform string, want v1.Image) {
	t.Helper()
	img, err := s.ImageFor(t.Context(), ref, platform)
	if err != nil {
		t.Error(err)
		return
	}
	is, err := img.Digest()
	was, wasErr := want.Digest()
	if err := errors.Join(err, wasErr); err != nil || is != was {
		t.Errorf("%s of %s is %s, %v, want %s", platform, ref, is, err, was)
	}
}

func TestImageForOnePlatform(t *testing.T) {
	t.Parallel()
	s := openStore(t, Config{Registry: serve(t, inMemory(t)).host()})
	image, err := s.PushImage(t.Context(), "shop", imageOf(t, "arm64", ""))
	if err != nil {
		t.Fatal(err)
	}
	for platform, want := range map[string]error{"": nil, "linux/arm64": nil, "linux/arm64/v8": nil, "linux/arm64/v9": ErrPlatform, "linux/s390x": ErrPlatform, "windows/arm64": ErrPlatform} {
		if _, err := s.ImageFor(t.Context(), image, platform); !errors.Is(err, want) {
			t.Errorf("%s: error is %v, want %v", platform, err, want)
		}
	}
	for _, bad := range []string{"linux", "linux/", "/arm64", "linux/arm64/v8/x", "a/b/c/d", "linux/arm64:1"} {
		if _, err := s.ImageFor(t.Context(), image, bad); err == nil || errors.Is(err, ErrPlatform) {
			t.Errorf("platform %q: error is %v, want that it is none", bad, err)
		}
	}
}

func TestIndexHasLimits(t *testing.T) {
	t.Parallel()
	s := openStore(t, Config{Registry: serve(t, inMemory(t)).host()})
	deep := v1.ImageIndex(empty.Index)
	for range maxNesting + 1 {
		deep = mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: deep})
	}
	if _, err := s.PushIndex(t.Context(), "shop", deep); !errors.Is(err, ErrTooLarge) {
		t.Errorf("error is %v, want ErrTooLarge", err)
	}
	wide, img := v1.ImageIndex(empty.Index), randomImage(t)
	for range maxImages + 1 {
		wide = mutate.AppendManifests(wide, mutate.IndexAddendum{Add: img})
	}
	if _, err := s.PushIndex(t.Context(), "shop", wide); !errors.Is(err, ErrTooLarge) {
		t.Errorf("error is %v, want ErrTooLarge", err)
	}
}
