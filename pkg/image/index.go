package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Index puts images for several platforms, by os/arch or os/arch/variant, under one
// digest. It is an OCI index, sorted by platform, whatever the images' format.
func Index(images map[string]v1.Image, annotations map[string]string) (v1.ImageIndex, error) {
	if len(images) == 0 {
		return nil, errors.New("index of images: there are none")
	}
	m := &v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Annotations: maps.Clone(annotations)}
	out := &index{manifest: m, images: map[v1.Hash]v1.Image{}}
	for _, platform := range slices.Sorted(maps.Keys(images)) {
		d, err := describe(images[platform], platform)
		if err != nil {
			return nil, fmt.Errorf("index of images: %s: %w", platform, err)
		}
		out.images[d.Digest] = images[platform]
		m.Manifests = append(m.Manifests, d)
	}
	var err error
	out.raw, err = json.Marshal(m)
	return out, err
}

func describe(img v1.Image, platform string) (v1.Descriptor, error) {
	p, err := v1.ParsePlatform(platform)
	if err != nil {
		return v1.Descriptor{}, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return v1.Descriptor{}, err
	}
	if config.OS != p.OS || config.Architecture != p.Architecture {
		return v1.Descriptor{}, fmt.Errorf("the image is for %s/%s", config.OS, config.Architecture)
	}
	d := v1.Descriptor{Platform: p}
	if d.Digest, err = img.Digest(); err != nil {
		return d, err
	}
	if d.Size, err = img.Size(); err != nil {
		return d, err
	}
	d.MediaType, err = img.MediaType()
	return d, err
}

type index struct {
	manifest *v1.IndexManifest
	raw      []byte
	images   map[v1.Hash]v1.Image
}

func (i *index) MediaType() (types.MediaType, error)              { return types.OCIImageIndex, nil }
func (i *index) Size() (int64, error)                             { return int64(len(i.raw)), nil }
func (i *index) RawManifest() ([]byte, error)                     { return i.raw, nil }
func (i *index) IndexManifest() (*v1.IndexManifest, error)        { return i.manifest.DeepCopy(), nil }
func (i *index) ImageIndex(digest v1.Hash) (v1.ImageIndex, error) { return nil, i.none(digest) }

func (i *index) Digest() (v1.Hash, error) {
	h, _, err := v1.SHA256(bytes.NewReader(i.raw))
	return h, err
}

func (i *index) Image(digest v1.Hash) (v1.Image, error) {
	if img, ok := i.images[digest]; ok {
		return img, nil
	}
	return nil, i.none(digest)
}

func (i *index) none(digest v1.Hash) error { return fmt.Errorf("%s is not in the index", digest) }
