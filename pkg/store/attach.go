package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// The limits of attachments, for those that are written and for those that are
// read: anybody who may push can attach.
const (
	maxListed     = 1000     // of all types to one subject
	maxAttachment = 1 << 20  // bytes of a manifest
	maxLayers     = 16       // of an attachment
	maxLayer      = 16 << 20 // bytes of a layer
	maxAllLayers  = 32 << 20 // bytes of all layers of an attachment
)

// fallbackPrefix begins the tag under which attachments are listed in a registry
// that has no referrers API.
const fallbackPrefix = "sha256-"

// Attachment is something that is said of an image or a blob: a signature, an
// attestation, a bill of materials.
type Attachment struct {
	Subject     string  // public name@sha256:…; it is there
	Type        string  // artifactType, a media type
	Layers      []Layer // at least one
	Annotations map[string]string
}

// Layer is a document of an attachment.
type Layer struct {
	Type string // media type
	Data []byte
}

// Attached is an attachment as the registry lists it. What the list says of type
// and annotations is the registry's word; the layers have the digest's.
type Attached struct {
	Digest      string // of its manifest, which is in the subject's repository
	Type        string
	Annotations map[string]string
}

// Attach attaches by OCI referrers and gives the digest of the attachment, which
// depends on nothing but its fields and the subject. The same is there once,
// however often it is attached. The error wraps [ErrMissing] where the subject is
// not there.
//
// Where the registry has no referrers API, the list of attachments is an index
// under a tag. Those who attach to one subject through one Store take turns; of
// several processes that do so at the same moment, one may drop what another just
// listed. Attaching once more lists it again.
func (s *Store) Attach(ctx context.Context, a Attachment) (string, error) {
	r, err := s.byDigest(a.Subject)
	if err != nil {
		return "", err
	}
	if err := a.check(); err != nil {
		return "", fmt.Errorf("attach to %s: %w", a.Subject, err)
	}
	subject, err := s.head(ctx, r)
	if err != nil {
		return "", fmt.Errorf("attach to %s: %w", a.Subject, err)
	}
	m, err := a.manifest(subject)
	if err != nil {
		return "", fmt.Errorf("attach to %s: %w", a.Subject, err)
	}
	turn := s.turn(r)
	turn.Lock()
	defer turn.Unlock()
	digest, err := s.attach(ctx, r, m)
	if err != nil {
		return "", fmt.Errorf("attach %s to %s: %w", a.Type, a.Subject, err)
	}
	return digest, nil
}

func (s *Store) turn(r name.Digest) *sync.Mutex {
	d := r.DigestStr()
	return &s.attaching[d[len(d)-1]%16]
}

func (a Attachment) check() error {
	if a.Type == "" || len(a.Type) > 255 || len(a.Layers) == 0 || len(a.Layers) > maxLayers {
		return fmt.Errorf("an attachment has a type, and 1 to %d layers", maxLayers)
	}
	all := 0
	for _, l := range a.Layers {
		if all += len(l.Data); len(l.Data) > maxLayer || all > maxAllLayers {
			return fmt.Errorf("%w: a layer may have %d bytes, all layers %d", ErrTooLarge, maxLayer, maxAllLayers)
		}
	}
	return nil
}

func (a Attachment) manifest(subject v1.Descriptor) (*manifest, error) {
	layers := make([]blobLayer, 0, len(a.Layers))
	for _, l := range a.Layers {
		layers = append(layers, bytesLayer(l.Data, types.MediaType(l.Type)))
	}
	m, err := assemble(v1.Manifest{
		ArtifactType: a.Type, Annotations: a.Annotations,
		Subject: &v1.Descriptor{MediaType: subject.MediaType, Size: subject.Size, Digest: subject.Digest},
	}, bytesLayer([]byte(emptyJSON), emptyType), layers...)
	if err == nil && len(m.raw) > maxAttachment {
		err = fmt.Errorf("%w: its manifest has %d bytes, at most %d are read", ErrTooLarge, len(m.raw), maxAttachment)
	}
	return m, err
}

// attach sends the manifest, and once more where the registry has it and does not
// list it: who sent it before may have ended in between.
func (s *Store) attach(ctx context.Context, subject name.Digest, m *manifest) (string, error) {
	digest, err := m.Digest()
	if err != nil {
		return "", err
	}
	repo := subject.Context()
	if err := s.deliver(ctx, repo, bundle{digest: digest, manifest: m, blobs: m.blobs}); err != nil {
		return "", err
	}
	for try := 1; ; try++ {
		listed, err := s.referrers(ctx, subject)
		if errors.Is(err, ErrTooLarge) {
			return digest.String(), nil // who knows the digest finds it
		}
		if err != nil {
			return "", err
		}
		if slices.ContainsFunc(listed, func(d v1.Descriptor) bool { return d.Digest == digest }) {
			return digest.String(), nil
		}
		if try == tries {
			return "", fmt.Errorf("the registry has %s, but does not list it as attached", digest)
		}
		pusher, err := s.sender(1)
		if err != nil {
			return "", err
		}
		if err := pusher.Put(ctx, repo.Digest(digest.String()), m); err != nil {
			return "", s.explain(repo, err)
		}
	}
}

// Attached lists what of a type is attached to an image or a blob, sorted by
// digest; at most 1000 of all types, more are an error that wraps [ErrTooLarge]. The error wraps
// [ErrMissing] only where the subject is not there.
func (s *Store) Attached(ctx context.Context, subject, artifactType string) ([]Attached, error) {
	r, err := s.byDigest(subject)
	if err != nil {
		return nil, err
	}
	found, err := s.attached(ctx, r, artifactType)
	if err == nil && len(found) == 0 {
		_, err = s.head(ctx, r)
	}
	if err != nil {
		return nil, fmt.Errorf("list what is attached to %s: %w", subject, err)
	}
	return found, nil
}

func (s *Store) attached(ctx context.Context, subject name.Digest, artifactType string) (found []Attached, err error) {
	listed, err := s.referrers(ctx, subject)
	if err != nil {
		return nil, err
	}
	for _, d := range listed {
		if d.Digest.Algorithm != "sha256" || d.Size < 0 {
			continue // nobody who attaches by this package
		}
		if d.ArtifactType == "" || d.ArtifactType == emptyType { // some registries look at the configuration's type alone
			if d, err = s.describe(ctx, subject.Context(), d); err != nil {
				return nil, err
			}
		}
		if d.ArtifactType == artifactType {
			found = append(found, Attached{Digest: d.Digest.String(), Type: d.ArtifactType, Annotations: d.Annotations})
		}
	}
	slices.SortFunc(found, func(a, b Attached) int { return strings.Compare(a.Digest, b.Digest) })
	return found, nil
}

// describe completes a list's entry from the manifest; one that is listed and not
// there has no type.
func (s *Store) describe(ctx context.Context, repo name.Repository, d v1.Descriptor) (v1.Descriptor, error) {
	got, err := s.get(ctx, repo.Digest(d.Digest.String()))
	if errors.Is(err, ErrMissing) || errors.Is(err, ErrCorrupt) {
		return v1.Descriptor{Digest: d.Digest}, nil
	}
	if err != nil {
		return v1.Descriptor{}, err
	}
	d.ArtifactType, d.Annotations = got.ArtifactType, got.Annotations
	return d, nil
}

func (s *Store) referrers(ctx context.Context, subject name.Digest) ([]v1.Descriptor, error) {
	index, err := remote.Referrers(subject, append(slices.Clone(s.options), remote.WithContext(ctx), remote.Reuse(s.receiver()))...)
	if err != nil {
		return nil, s.explain(subject.Context(), err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if len(m.Manifests) > maxListed {
		return nil, fmt.Errorf("%w: more than %d attachments", ErrTooLarge, maxListed)
	}
	return m.Manifests, nil
}

// Layers reads an attachment of any registry, if no layer of it has more than limit bytes;
// 16 MiB is the most. The error wraps [ErrMissing], [ErrCorrupt] or [ErrTooLarge].
func (s *Store) Layers(ctx context.Context, repository, digest string, limit int64) ([]Layer, error) {
	r, err := s.byDigest(repository + "@" + digest)
	if err != nil {
		return nil, err
	}
	got, err := s.get(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", r, err)
	}
	if len(got.Manifest) > maxAttachment {
		return nil, fmt.Errorf("get %s: %w: its manifest has %d bytes, at most %d are read", r, ErrTooLarge, len(got.Manifest), maxAttachment)
	}
	m, err := v1.ParseManifest(bytes.NewReader(got.Manifest))
	if err != nil {
		return nil, fmt.Errorf("get %s: %w: %w", r, ErrCorrupt, err)
	}
	layers, err := s.layers(ctx, r.Context(), m, limit)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", r, err)
	}
	return layers, nil
}

func (s *Store) layers(ctx context.Context, repo name.Repository, m *v1.Manifest, limit int64) (layers []Layer, err error) {
	if len(m.Layers) > maxLayers {
		return nil, fmt.Errorf("%w: %d layers, at most %d are read", ErrTooLarge, len(m.Layers), maxLayers)
	}
	left := int64(maxAllLayers)
	for _, d := range m.Layers {
		if d.Size < 0 {
			return nil, fmt.Errorf("%w: a layer of %d bytes", ErrCorrupt, d.Size)
		}
		data, err := s.whole(ctx, repo, d, min(maxLayer, limit, left))
		if err != nil {
			return nil, err
		}
		left -= int64(len(data))
		layers = append(layers, Layer{Type: string(d.MediaType), Data: data})
	}
	return layers, nil
}

// Blob reads a blob of at most limit bytes of any registry, by its digest. The
// error wraps [ErrMissing], [ErrCorrupt] or [ErrTooLarge].
func (s *Store) Blob(ctx context.Context, repository, digest string, limit int64) ([]byte, error) {
	r, err := s.byDigest(repository + "@" + digest)
	if err != nil {
		return nil, err
	}
	hash, err := v1.NewHash(digest)
	if err != nil {
		return nil, fmt.Errorf("get blob %.200q of %s: %w", digest, repository, err)
	}
	return s.whole(ctx, r.Context(), v1.Descriptor{Digest: hash, Size: unknown}, limit)
}
