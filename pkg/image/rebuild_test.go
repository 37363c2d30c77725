package image

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/millrace-cd/millrace/pkg/archive"
)

// built is an image as an engine saves it: base's layers and one of its own, on a day.
func built(t *testing.T, day int64, base []*Layer, history []v1.History, own ...tar.Header) v1.Image {
	t.Helper()
	now := v1.Time{Time: created.AddDate(0, 0, int(day))}
	for i := range own {
		own[i].ModTime = now.Add(time.Minute)
	}
	img := mutate.MediaType(Scratch(), types.DockerManifestSchema2)
	for _, l := range append(slices.Clone(base), pack(t, own...)) {
		var err error
		if img, err = mutate.Append(img, mutate.Addendum{Layer: l, MediaType: types.DockerLayer}); err != nil {
			t.Fatal(err)
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created, config.Container = "linux", "amd64", now, "4711"
	config.DockerVersion = "28.5.2" //nolint:staticcheck // the field is deprecated, engines fill it in
	config.Config = v1.Config{Hostname: "0815", Image: "sha256:1", Tty: true, Cmd: []string{"app"}, Labels: map[string]string{"a": "b"}}
	config.History = nil
	for _, h := range history {
		h.Created = now // as no engine does
		config.History = append(config.History, h)
	}
	config.History = append(config.History, v1.History{CreatedBy: "RUN make", Created: now}, v1.History{CreatedBy: "CMD app", Created: now, EmptyLayer: true})
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}

var past = []v1.History{{CreatedBy: "base", Created: v1.Time{Time: time.Unix(1000, 0).UTC()}}}

func baseImage(t *testing.T, l *Layer) v1.Image {
	t.Helper()
	base, err := mutate.Append(Scratch(), mutate.Addendum{Layer: l, History: past[0]})
	if err != nil {
		t.Fatal(err)
	}
	return base
}

func rebuild(t *testing.T, img, base v1.Image) (*Rebuilt, string) {
	t.Helper()
	dir := t.TempDir()
	r, err := Rebuild(dir, img, base, Settings{Created: created, Labels: map[string]string{"revision": "abc"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("%v is left, %v", left, err)
		}
	})
	return r, digest(t, r)
}

func TestRebuild(t *testing.T) {
	t.Parallel()
	lower := pack(t, at(file("lib/so", "x"), 12345))
	base := baseImage(t, lower)
	own := func() []tar.Header {
		return []tar.Header{dir("etc"), file("etc/hosts", "here"), dir("proc"), file("app", "content")}
	}
	r, first := rebuild(t, built(t, 1, []*Layer{lower}, past, own()...), base)
	other := own()
	other[1] = file("etc/hosts", "elsewhere")
	if _, again := rebuild(t, built(t, 300, []*Layer{lower}, past, other...), base); again != first {
		t.Errorf("built on another day and machine it is %s, not %s", again, first)
	}
	const want = "sha256:2b8f98fbd5b7e4fb557e93c471464d8414863e30a1c959e3b66b71a29497af45"
	if first != want {
		t.Errorf("digest is %s, want %s", first, want)
	}
	layers, err := r.Layers()
	if err != nil || len(layers) != 2 {
		t.Fatalf("layers are %v, %v", layers, err)
	}
	if d, _ := layers[0].Digest(); d != lower.digest {
		t.Errorf("base's layer is %s, was %s", d, lower.digest)
	}
	if diff := cmp.Diff([]string{"0 app  755 0:0 0  content"}, uncompressed(t, layers[1])); diff != "" {
		t.Error(diff)
	}
	checkConfig(t, r)
}

func checkConfig(t *testing.T, r *Rebuilt) {
	t.Helper()
	config, err := r.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	then := v1.Time{Time: created.UTC()}
	want := &v1.ConfigFile{
		OS: "linux", Architecture: "amd64", Created: then, RootFS: config.RootFS,
		Config:  v1.Config{Cmd: []string{"app"}, Labels: map[string]string{"a": "b", "revision": "abc"}},
		History: []v1.History{past[0], {CreatedBy: "RUN make", Created: then}, {CreatedBy: "CMD app", Created: then, EmptyLayer: true}},
	}
	if diff := cmp.Diff(want, config); diff != "" {
		t.Error(diff)
	}
	m, err := r.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if m.MediaType != types.OCIManifestSchema1 || m.Layers[1].MediaType != types.OCILayer || m.Annotations["revision"] != "abc" {
		t.Errorf("manifest is %+v, want base's format", m)
	}
}

func uncompressed(t *testing.T, l v1.Layer) []string {
	t.Helper()
	r, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return listed(t, data)
}

// Without the base, all layers are made anew.
func TestRebuildWithoutBase(t *testing.T) {
	t.Parallel()
	lower := pack(t, at(file("lib/so", "x"), 12345))
	r, first := rebuild(t, built(t, 1, []*Layer{lower}, nil, file("app", "content")), nil)
	if _, again := rebuild(t, built(t, 2, []*Layer{lower}, nil, file("app", "content")), nil); again != first {
		t.Errorf("built on another day it is %s, not %s", again, first)
	}
	layers, err := r.Layers()
	if err != nil || len(layers) != 2 {
		t.Fatalf("layers are %v, %v", layers, err)
	}
	if diff := cmp.Diff([]string{"0 lib/so  755 0:0 0  x"}, uncompressed(t, layers[0])); diff != "" {
		t.Error(diff)
	}
	config, err := r.ConfigFile()
	if err != nil || len(config.History) != 2 || config.History[0].CreatedBy != "millrace" { // it did not fit the layers
		t.Errorf("history is %v, %v", config.History, err)
	}
}

// Layers of a base in Docker's format keep their type, and so do those above.
func TestRebuildOnDockersFormat(t *testing.T) {
	t.Parallel()
	lower := pack(t, file("lib/so", "x"))
	base, err := mutate.Append(mutate.MediaType(Scratch(), types.DockerManifestSchema2), mutate.Addendum{Layer: lower, MediaType: types.DockerLayer, History: past[0]})
	if err != nil {
		t.Fatal(err)
	}
	r, _ := rebuild(t, built(t, 1, []*Layer{lower}, past, file("app", "content")), base)
	m, err := r.Manifest()
	if err != nil || m.MediaType != types.DockerManifestSchema2 || m.Layers[0].MediaType != types.DockerLayer || m.Layers[1].MediaType != types.DockerLayer || m.Annotations != nil {
		t.Errorf("manifest is %+v, %v", m, err)
	}
}

func TestRebuildRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	img := built(t, 1, nil, nil, tar.Header{Name: "disk", Typeflag: tar.TypeBlock})
	if _, err := Rebuild(dir, img, nil, Settings{Created: created}); !errors.Is(err, archive.ErrRefused) {
		t.Errorf("error is %v, want ErrRefused", err)
	}
	many := slices.Repeat([]*Layer{pack(t, file("a", "x"))}, maxLayers)
	if _, err := Rebuild(dir, built(t, 1, many, nil, file("b", "x")), nil, Settings{}); !errors.Is(err, archive.ErrRefused) {
		t.Errorf("error is %v, want ErrRefused", err)
	}
	if left, err := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}
