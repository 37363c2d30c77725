package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// file is an entry of a tar.
func file(name, content string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(content)), Uname: content} // the name of its owner is lent
}

func dir(name string) tar.Header {
	return tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: 0o755}
}

func symlink(name, target string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}
}

func hardlink(name, target string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target, Mode: 0o755}
}

// archived is a tar of entries, in their order.
func archived(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		content := h.Uname
		if h.Typeflag == tar.TypeReg {
			h.Uname = ""
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(w, content); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func pack(t testing.TB, entries ...tar.Header) *Layer {
	t.Helper()
	data := archived(t, entries...)
	l, err := Compress(t.TempDir(), FromTar(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func layer(t testing.TB, content string) []*Layer {
	t.Helper()
	return []*Layer{pack(t, file("app", content))}
}

var settings = Settings{
	OS: "linux", Architecture: "amd64", User: "1000", Workdir: "/srv", Entrypoint: []string{"/app"}, Ports: []int{8080},
	Env: map[string]string{"B": "2", "A": "1"}, Labels: map[string]string{"org.opencontainers.image.revision": "abc"},
	Volumes: []string{"/data"}, Healthcheck: &v1.HealthConfig{Test: []string{"CMD", "/app", "health"}, Retries: 3}, Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("x", 3600)),
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
	t.Parallel()
	first := digest(t, assemble(t, Scratch(), "x", settings))
	if again := digest(t, assemble(t, Scratch(), "x", settings)); again != first {
		t.Errorf("assembled again the digest is %s, not %s", again, first)
	}
	const want = "sha256:654cd1e1cf54083cfec68c3c7f238ba3858699e65c810422fa8ed03adb17a8cc"
	if first != want {
		t.Errorf("digest is %s, want %s as on other days and machines", first, want)
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
	t.Parallel()
	img := assemble(t, Scratch(), "x", settings)
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	want := v1.Config{
		User: "1000", WorkingDir: "/srv", Entrypoint: []string{"/app"}, Env: []string{"A=1", "B=2"},
		ExposedPorts: map[string]struct{}{"8080/tcp": {}}, Volumes: map[string]struct{}{"/data": {}},
		Labels: map[string]string{"org.opencontainers.image.revision": "abc"}, Healthcheck: settings.Healthcheck,
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
	t.Parallel()
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
	t.Parallel()
	got := mergeEnv([]string{"PATH=/bin", "A=0", "AB=1"}, map[string]string{"A": "1", "Z": "2", "C": "3"})
	if diff := cmp.Diff([]string{"PATH=/bin", "A=1", "AB=1", "C=3", "Z=2"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestLayersInOrder(t *testing.T) {
	t.Parallel()
	layers := append(layer(t, "1"), layer(t, "2")...)
	img, err := Assemble(Scratch(), layers, settings)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	got, err := img.Layers()
	if err != nil || len(got) != 2 || len(config.RootFS.DiffIDs) != 2 || len(config.History) != 2 {
		t.Fatalf("%d layers, configuration %v, %v", len(got), config, err)
	}
	for i, l := range layers {
		if d, _ := got[i].Digest(); d != l.digest || config.RootFS.DiffIDs[i] != l.diffID {
			t.Errorf("layer %d is %s, want %s", i, d, l.digest)
		}
	}
}

// The bytes must not depend on how they come, on the cores or on the run.
func TestCompress(t *testing.T) {
	t.Parallel()
	noise := make([]byte, 5*chunkSize+12345)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(noise) // does not fail
	clear(noise[2*chunkSize : 3*chunkSize])         // something to compress
	for name, data := range map[string][]byte{"empty": nil, "byte": {1}, "chunk": noise[:chunkSize], "chunk and a byte": noise[:chunkSize+1], "long": noise} {
		var first *Layer
		for _, step := range []int{len(data) + 1, 512, 1000, chunkSize - 1} {
			l, err := compress(t.TempDir(), chunkSize/2, func(w io.Writer) error {
				for piece := range slices.Chunk(data, step) {
					if _, err := w.Write(piece); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = l
			}
			if l.digest != first.digest {
				t.Errorf("%s: in pieces of %d bytes the digest is %s, not %s", name, step, l.digest, first.digest)
			}
			checkLayer(t, l, data)
			if (l.spool.path != "") != (name == "chunk" || name == "chunk and a byte" || name == "long") {
				t.Errorf("%s: %d bytes are in file %q", name, l.size, l.spool.path)
			}
			if err := errors.Join(l.Close(), l.Close()); err != nil {
				t.Error(err)
			}
			if left, err := os.ReadDir(l.spool.dir); len(left) != 0 {
				t.Errorf("%v is left, %v", left, err)
			}
		}
	}
}

// checkLayer reads a layer with another implementation of gzip than made it.
func checkLayer(t *testing.T, l *Layer, want []byte) {
	t.Helper()
	for range 2 {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil || !bytes.Equal(got, want) {
			t.Errorf("got %d bytes, %v, want %d", len(got), err, len(want))
		}
	}
	r, err := l.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	digest, size, err := v1.SHA256(r)
	if err := errors.Join(err, r.Close()); err != nil || digest != l.digest || size != l.size {
		t.Errorf("it has %d bytes of %s, %v, and says %d of %s", size, digest, err, l.size, l.digest)
	}
	if diffID, _, err := v1.SHA256(bytes.NewReader(want)); err != nil || diffID != l.diffID || l.files != int64(len(want)) {
		t.Errorf("the tar has %d bytes of %s, %v, and says %d of %s", len(want), diffID, err, l.files, l.diffID)
	}
}

func TestCompressLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	dir, wrong := t.TempDir(), errors.New("wrong")
	_, err := compress(dir, 10, func(w io.Writer) error {
		_, err := io.WriteString(w, strings.Repeat("x", 10*chunkSize))
		return errors.Join(err, wrong)
	})
	if !errors.Is(err, wrong) {
		t.Errorf("error is %v, want %v", err, wrong)
	}
	if left, err := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%v is left, %v", left, err)
	}
	if _, err := compress(dir+"/none", 10, func(w io.Writer) error {
		_, err := io.WriteString(w, strings.Repeat("x", 10*chunkSize))
		return err
	}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error is %v, want that the directory is not there", err)
	}
}

func TestIndex(t *testing.T) {
	t.Parallel()
	images := map[string]v1.Image{}
	for platform, architecture := range map[string]string{"linux/arm64": "arm64", "linux/amd64": "amd64", "linux/arm/v7": "arm"} {
		s := settings
		s.Architecture = architecture
		images[platform] = assemble(t, Scratch(), "x", s)
	}
	index, err := Index(images, map[string]string{"org.opencontainers.image.revision": "abc"})
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, d := range m.Manifests {
		platforms = append(platforms, d.Platform.String())
		img, err := index.Image(d.Digest)
		if err != nil || digest(t, img) != d.Digest.String() || img != images[d.Platform.String()] {
			t.Errorf("%s is %v, %v", d.Platform, img, err)
		}
	}
	if diff := cmp.Diff([]string{"linux/amd64", "linux/arm/v7", "linux/arm64"}, platforms); diff != "" {
		t.Error(diff)
	}
	got, err := index.Digest()
	const want = "sha256:4ff0316950da386fb69a3e939a836a23fd5d4680e2807c768086bfc9edafd3c1"
	if err != nil || got.String() != want {
		t.Errorf("digest is %s, %v, want %s", got, err, want)
	}
	for name, bad := range map[string]map[string]v1.Image{"none": {}, "another platform": {"linux/s390x": images["linux/arm64"]}, "no platform": {"a/b/c/d": images["linux/arm64"]}} {
		if _, err := Index(bad, nil); err == nil {
			t.Errorf("%s: an index was made", name)
		}
	}
}
