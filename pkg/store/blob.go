package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/millrace-cd/millrace/pkg/archive"
	"github.com/millrace-cd/millrace/pkg/event"
)

// Kind is what a repository of an app holds; it is the last part of its name.
type Kind string

// The kinds. A snapshot or an artifact is an OCI manifest of artifactType
// application/vnd.millrace.<kind>.v1 with one layer, the tar as it is.
const (
	Snapshot Kind = "snapshot"
	Artifact Kind = "artifact"
	Image    Kind = "image"
	Report   Kind = "report"
)

// The type of a manifest's config where it has none, and what stands there.
const (
	emptyType = "application/vnd.oci.empty.v1+json"
	emptyJSON = "{}"
)

var appName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Upload is a tar that is to be stored.
type Upload struct {
	App  string // DNS label
	Kind Kind   // all but Image
	Tar  *archive.Tar

	// Config is a JSON document about the tar, such as the list of an artifact's
	// files; may be nil. [Store.Config] gives it back.
	Config []byte
	// Annotations go into the manifest, so into its digest: the same tar has the
	// same digest only with the same annotations.
	Annotations map[string]string
}

// Repository is the public name of the repository that holds what there is of a
// kind for an app.
func (s *Store) Repository(app string, kind Kind) string {
	return s.names.public + "/millrace/" + app + "/" + string(kind)
}

// Describe tells where [Store.Put] will put a tar, without doing so.
func (s *Store) Describe(up Upload) (event.Blob, error) {
	m, err := newManifest(up)
	if err != nil {
		return event.Blob{}, err
	}
	digest, err := m.Digest()
	if err != nil {
		return event.Blob{}, err
	}
	return event.Blob{
		Repository: s.Repository(up.App, up.Kind), Digest: digest.String(), Files: up.Tar.Stats.Files, Bytes: up.Tar.Stats.Bytes,
	}, nil
}

// Put stores a tar and tells where it is. What the registry has already is not
// sent again.
func (s *Store) Put(ctx context.Context, up Upload) (event.Blob, error) {
	repo, err := s.internal(up.App, up.Kind)
	if err != nil {
		return event.Blob{}, err
	}
	m, err := newManifest(up)
	if err != nil {
		return event.Blob{}, err
	}
	digest, err := m.Digest()
	if err != nil {
		return event.Blob{}, err
	}
	public := s.Repository(up.App, up.Kind)
	if err := s.deliver(ctx, repo, bundle{digest: digest, manifest: m, blobs: m.blobs}); err != nil {
		return event.Blob{}, fmt.Errorf("store %s of %d bytes in %s: %w", up.Kind, up.Tar.Size, public, err)
	}
	return event.Blob{Repository: public, Digest: digest.String(), Files: up.Tar.Stats.Files, Bytes: up.Tar.Stats.Bytes}, nil
}

// Get reads a tar back. Reading fails with [ErrCorrupt], at the latest at its end,
// where it is not what was stored, and goes on by itself where the connection
// drops. The error wraps [ErrMissing] where it is not there.
func (s *Store) Get(ctx context.Context, blob event.Blob) (io.ReadCloser, error) {
	repo, m, err := s.manifest(ctx, blob)
	if err != nil {
		return nil, err
	}
	if len(m.Layers) != 1 {
		return nil, fmt.Errorf("get %s@%s: %w: %d layers, want one tar", blob.Repository, blob.Digest, ErrCorrupt, len(m.Layers))
	}
	return s.content(ctx, repo, m.Layers[0])
}

// Config gives the JSON document that was stored with a tar; nil if none was.
func (s *Store) Config(ctx context.Context, blob event.Blob) ([]byte, error) {
	repo, m, err := s.manifest(ctx, blob)
	if err != nil || m.Config.MediaType == emptyType {
		return nil, err
	}
	r, err := s.content(ctx, repo, m.Config)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("get config of %s@%s: %w", blob.Repository, blob.Digest, err)
	}
	return data, nil
}

func (s *Store) manifest(ctx context.Context, blob event.Blob) (name.Repository, *v1.Manifest, error) {
	at := blob.Repository + "@" + blob.Digest
	if !strings.HasPrefix(blob.Repository, s.names.public+"/millrace/") { // an event must not send us elsewhere
		return name.Repository{}, nil, fmt.Errorf("get %.300s: not in the registry %s", at, s.names.public)
	}
	repo, err := s.names.repository(blob.Repository)
	if err != nil {
		return name.Repository{}, nil, err
	}
	if _, err := v1.NewHash(blob.Digest); err != nil {
		return name.Repository{}, nil, fmt.Errorf("get %s: %w", at, err)
	}
	got, err := s.get(ctx, repo.Digest(blob.Digest))
	if err != nil {
		return name.Repository{}, nil, fmt.Errorf("get %s: %w", at, err)
	}
	m, err := v1.ParseManifest(bytes.NewReader(got.Manifest))
	if err != nil {
		return name.Repository{}, nil, fmt.Errorf("get %s: %w", at, err)
	}
	return repo, m, nil
}

func (s *Store) internal(app string, kind Kind) (name.Repository, error) {
	if !appName.MatchString(app) {
		return name.Repository{}, fmt.Errorf("app %.80q is not a DNS label", app)
	}
	switch kind {
	case Snapshot, Artifact, Image, Report:
		return s.names.repository(s.Repository(app, kind))
	}
	return name.Repository{}, fmt.Errorf("kind %q of blob is not known", kind)
}

// manifest is a manifest that is ours, with what it names.
type manifest struct {
	raw   []byte
	blobs []v1.Layer
}

func newManifest(up Upload) (*manifest, error) {
	prefix := "application/vnd.millrace." + string(up.Kind)
	digest, err := v1.NewHash(up.Tar.Digest)
	if err != nil {
		return nil, fmt.Errorf("digest of tar: %w", err)
	}
	layer := blobLayer{digest: digest, size: up.Tar.Size, mediaType: types.MediaType(prefix + ".v1.tar"), open: up.Tar.Open}
	config := bytesLayer([]byte(emptyJSON), emptyType)
	if up.Config != nil {
		config = bytesLayer(up.Config, types.MediaType(prefix+".files.v1+json"))
	}
	return assemble(v1.Manifest{ArtifactType: prefix + ".v1", Annotations: up.Annotations}, config, layer)
}

// assemble completes a manifest with what it names.
func assemble(m v1.Manifest, config blobLayer, layers ...blobLayer) (*manifest, error) {
	m.SchemaVersion, m.MediaType, m.Config = 2, types.OCIManifestSchema1, config.descriptor()
	out := &manifest{}
	for _, l := range layers {
		m.Layers = append(m.Layers, l.descriptor())
		out.blobs = append(out.blobs, l)
	}
	out.blobs = append(out.blobs, config)
	var err error
	out.raw, err = json.Marshal(m)
	return out, err
}

func (m *manifest) RawManifest() ([]byte, error)        { return m.raw, nil }
func (m *manifest) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }
func (m *manifest) Size() (int64, error)                { return int64(len(m.raw)), nil }
func (m *manifest) Digest() (v1.Hash, error) {
	h, _, err := v1.SHA256(bytes.NewReader(m.raw))
	return h, err
}

// blobLayer is a blob that can be opened again and again, as a retry has to.
type blobLayer struct {
	digest    v1.Hash
	size      int64
	mediaType types.MediaType
	open      func() (io.ReadCloser, error)
}

func bytesLayer(data []byte, mediaType types.MediaType) blobLayer {
	digest, size, _ := v1.SHA256(bytes.NewReader(data)) // reading memory cannot fail
	return blobLayer{digest: digest, size: size, mediaType: mediaType, open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}}
}

func (l blobLayer) descriptor() v1.Descriptor {
	return v1.Descriptor{MediaType: l.mediaType, Digest: l.digest, Size: l.size}
}

func (l blobLayer) Digest() (v1.Hash, error)             { return l.digest, nil }
func (l blobLayer) DiffID() (v1.Hash, error)             { return l.digest, nil }
func (l blobLayer) Compressed() (io.ReadCloser, error)   { return l.open() }
func (l blobLayer) Uncompressed() (io.ReadCloser, error) { return l.open() }
func (l blobLayer) Size() (int64, error)                 { return l.size, nil }
func (l blobLayer) MediaType() (types.MediaType, error)  { return l.mediaType, nil }
