package image

import (
	"archive/tar"
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func layer(t *testing.T, content string) func() (io.ReadCloser, error) {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "app", Mode: 0o755, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }
}

var settings = Settings{
	OS: "linux", Architecture: "amd64", User: "1000", Workdir: "/srv", Entrypoint: []string{"/app"}, Ports: []int{8080},
	Env: map[string]string{"B": "2", "A": "1"}, Labels: map[string]string{"org.opencontainers.image.revision": "abc"},
	Volumes: []string{"/data"}, Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("x", 3600)),
}

func assemble(t *testing.T, base v1.Image, content string, s Settings) v1.Image {
	t.Helper()
	img, err := Assemble(base, layer(t, content), s)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func digest(t *testing.T, img v1.Image) string {
	t.Helper()
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

func TestSameInputSameDigest(t *testing.T) {
	first := digest(t, assemble(t, Scratch(), "x", settings))
	if again := digest(t, assemble(t, Scratch(), "x", settings)); again != first {
		t.Errorf("assembled again the digest is %s, not %s", again, first)
	}
	if other := digest(t, assemble(t, Scratch(), "y", settings)); other == first {
		t.Error("another file gives the same digest")
	}
	later := settings
	later.Created = later.Created.Add(time.Second)
	if other := digest(t, assemble(t, Scratch(), "x", later)); other == first {
		t.Error("another commit gives the same digest")
	}
}

func TestSettings(t *testing.T) {
	img := assemble(t, Scratch(), "x", settings)
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	want := v1.Config{
		User: "1000", WorkingDir: "/srv", Entrypoint: []string{"/app"}, Env: []string{"A=1", "B=2"},
		ExposedPorts: map[string]struct{}{"8080/tcp": {}}, Volumes: map[string]struct{}{"/data": {}},
		Labels: map[string]string{"org.opencontainers.image.revision": "abc"},
	}
	if diff := cmp.Diff(want, c.Config); diff != "" {
		t.Error(diff)
	}
	if c.OS != "linux" || c.Architecture != "amd64" || c.Created.Format(time.RFC3339) != "2026-01-02T02:04:05Z" {
		t.Errorf("platform %s/%s, created %s", c.OS, c.Architecture, c.Created)
	}
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if m.Annotations["org.opencontainers.image.revision"] != "abc" || m.MediaType != types.OCIManifestSchema1 || m.Config.MediaType != types.OCIConfigJSON {
		t.Errorf("manifest %+v", m)
	}
}

// Layers of the base are taken as they are, in both formats.
func TestBaseIsKept(t *testing.T) {
	for _, kind := range []types.MediaType{types.DockerManifestSchema2, types.OCIManifestSchema1} {
		base, err := random.Image(100, 2)
		if err != nil {
			t.Fatal(err)
		}
		base = mutate.MediaType(base, kind)
		img := assemble(t, base, "x", Settings{Env: map[string]string{"A": "1"}})
		before, _ := base.Layers()
		after, err := img.Layers()
		if err != nil || len(after) != len(before)+1 {
			t.Fatalf("%d layers, want %d: %v", len(after), len(before)+1, err)
		}
		for i, l := range before {
			was, _ := l.Digest()
			if is, _ := after[i].Digest(); is != was {
				t.Errorf("layer %d is %s, was %s", i, is, was)
			}
		}
		if got, _ := img.MediaType(); got != kind {
			t.Errorf("media type %s, want the base's %s", got, kind)
		}
	}
}

func TestMergeEnv(t *testing.T) {
	got := mergeEnv([]string{"PATH=/bin", "A=0", "AB=1"}, map[string]string{"A": "1", "Z": "2", "C": "3"})
	if diff := cmp.Diff([]string{"PATH=/bin", "A=1", "AB=1", "C=3", "Z=2"}, got); diff != "" {
		t.Error(diff)
	}
}
