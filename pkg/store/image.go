package store

import (
	"context"
	"fmt"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// maxConfig bounds an image's configuration, which is read into memory.
const maxConfig = 8 << 20

// Image reads an image of any registry, for linux and this machine's
// architecture where there are several. Layers are fetched when they are read,
// under ctx, and not at all when the image is pushed to the registry that has
// them. The error wraps [ErrMissing] where there is no such image.
func (s *Store) Image(ctx context.Context, ref string) (v1.Image, error) {
	return s.ImageFor(ctx, ref, "")
}

// ImageFor is [Store.Image] for a platform, os/arch or os/arch/variant. The error
// wraps [ErrPlatform] where the image is for others only. With the platform "" an
// image that is alone is taken, whatever it is for.
func (s *Store) ImageFor(ctx context.Context, ref, platform string) (v1.Image, error) {
	r, err := s.names.reference(ref)
	if err != nil {
		return nil, err
	}
	want, err := parsePlatform(platform)
	if err != nil {
		return nil, err
	}
	got, err := s.get(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("get image %s: %w", ref, err)
	}
	img, err := s.choose(r.Context(), got, want, platform == "")
	if err != nil {
		return nil, fmt.Errorf("get image %s: %w", ref, err)
	}
	return img, nil
}

func parsePlatform(platform string) (v1.Platform, error) {
	if platform == "" {
		return v1.Platform{OS: "linux", Architecture: runtime.GOARCH}, nil
	}
	p, err := v1.ParsePlatform(platform)
	if err != nil || p.OS == "" || p.Architecture == "" || p.OSVersion != "" || strings.Count(platform, "/") > 2 {
		return v1.Platform{}, fmt.Errorf("platform %.80q: want os/arch or os/arch/variant, such as linux/arm64", platform)
	}
	return *p, nil
}

// choose takes the image for a platform out of what a reference stands for.
func (s *Store) choose(repo name.Repository, got *remote.Descriptor, want v1.Platform, lenient bool) (v1.Image, error) {
	if !got.MediaType.IsIndex() {
		img, err := got.Image()
		if err != nil {
			return nil, s.explain(repo, err)
		}
		return img, s.check(repo, img, want, lenient)
	}
	index, err := got.ImageIndex()
	if err != nil {
		return nil, s.explain(repo, err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	digest, err := pick(m.Manifests, want)
	if err != nil {
		return nil, err
	}
	img, err := index.Image(digest)
	if err != nil {
		return nil, s.explain(repo, err)
	}
	return img, s.check(repo, img, want, true)
}

// check looks at what would be read into memory, and at the platform.
func (s *Store) check(repo name.Repository, img v1.Image, want v1.Platform, lenient bool) error {
	m, err := img.Manifest()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if m.Config.Size > maxConfig {
		return fmt.Errorf("%w: its configuration has %d bytes, at most %d are read", ErrTooLarge, m.Config.Size, maxConfig)
	}
	if lenient {
		return nil
	}
	config, err := img.ConfigFile()
	if err != nil {
		return s.explain(repo, err)
	}
	if is := config.Platform(); !fits(*is, want) {
		return fmt.Errorf("%w: it is for %s alone, not for %s", ErrPlatform, is, want)
	}
	return nil
}

// pick is the first image for the platform.
func pick(manifests []v1.Descriptor, want v1.Platform) (v1.Hash, error) {
	var others []string
	for _, d := range manifests {
		switch {
		case d.Platform == nil || !d.MediaType.IsImage() || d.Platform.OS == "unknown": // as attestations are
		case fits(*d.Platform, want):
			return d.Digest, nil
		case len(others) < 20:
			others = append(others, d.Platform.String())
		}
	}
	return v1.Hash{}, fmt.Errorf("%w: it is for %s, not for %s", ErrPlatform, strings.Join(others, ", "), want)
}

// fits compares platforms. arm64 has one variant that matters, and few name it.
func fits(is, want v1.Platform) bool {
	if is.OS != want.OS || is.Architecture != want.Architecture {
		return false
	}
	return want.Variant == "" || is.Variant == want.Variant || want.Architecture == "arm64" && want.Variant == "v8" && is.Variant == ""
}

// PushImage stores an image of an app, without a tag, and gives its public name
// by digest. Blobs that come from a repository of the registry are mounted.
func (s *Store) PushImage(ctx context.Context, app string, img v1.Image) (string, error) {
	return s.pushBundles(ctx, app, func() ([]bundle, error) { return ofImage(img) })
}

// PushIndex stores the images of an index like [Store.PushImage], and then the
// index.
func (s *Store) PushIndex(ctx context.Context, app string, index v1.ImageIndex) (string, error) {
	return s.pushBundles(ctx, app, func() ([]bundle, error) { return ofIndex(index, 0) })
}

func (s *Store) pushBundles(ctx context.Context, app string, list func() ([]bundle, error)) (string, error) {
	repo, err := s.internal(app, Image)
	if err != nil {
		return "", err
	}
	bundles, err := list()
	if err != nil {
		return "", fmt.Errorf("read image: %w", err)
	}
	digest, public := bundles[len(bundles)-1].digest, s.Repository(app, Image)
	if err := s.deliver(ctx, repo, bundles...); err != nil {
		return "", fmt.Errorf("store image %s in %s: %w", digest, public, err)
	}
	return public + "@" + digest.String(), nil
}

// ofDescriptor lists what a reference stands for, the whole last.
func ofDescriptor(got *remote.Descriptor) ([]bundle, error) {
	if got.MediaType.IsIndex() {
		index, err := got.ImageIndex()
		if err != nil {
			return nil, err
		}
		return ofIndex(index, 0)
	}
	img, err := got.Image()
	if err != nil {
		return nil, err
	}
	return ofImage(img)
}

func ofImage(img v1.Image) ([]bundle, error) {
	digest, err := img.Digest()
	if err != nil {
		return nil, err
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	config, err := partial.ConfigLayer(img)
	if err != nil {
		return nil, err
	}
	return []bundle{{digest: digest, manifest: img, blobs: append(layers, config)}}, nil
}

const (
	maxNesting = 4   // indexes within indexes
	maxImages  = 256 // in an index
)

func ofIndex(index v1.ImageIndex, depth int) (bundles []bundle, err error) {
	children, err := partial.Manifests(index)
	if err != nil {
		return nil, err
	}
	if depth == maxNesting || len(children) > maxImages {
		return nil, fmt.Errorf("%w: an index of over %d images or %d levels", ErrTooLarge, maxImages, maxNesting)
	}
	digest, err := index.Digest()
	if err != nil {
		return nil, err
	}
	self := bundle{digest: digest, manifest: index}
	for _, child := range children {
		var more []bundle
		switch child := child.(type) {
		case v1.Image:
			more, err = ofImage(child)
		case v1.ImageIndex:
			more, err = ofIndex(child, depth+1)
		case v1.Layer:
			self.blobs = append(self.blobs, child)
		}
		if err != nil {
			return nil, err
		}
		bundles = append(bundles, more...)
	}
	return append(bundles, self), nil
}
