package builder

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace-cd/millrace/pkg/archive"
	"github.com/millrace-cd/millrace/pkg/pipeline"
)

func TestProducts(t *testing.T) {
	names := func(b pipeline.Build) (names []string) {
		for _, p := range productsOf(b) {
			names = append(names, p.name)
		}
		return names
	}
	tests := []struct {
		name  string
		build pipeline.Build
		want  []string
	}{
		{"plain", pipeline.Build{}, []string{"build"}},
		{"reproducible", pipeline.Build{Reproducible: true}, []string{"build", "build again"}},
		{"platforms", pipeline.Build{Platforms: []string{"linux/amd64", "linux/arm/v7"}}, []string{"build[linux/amd64]", "build[linux/arm/v7]"}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, names(tt.build)); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestPlatformIsTold(t *testing.T) {
	b := pipeline.Build{Step: pipeline.Step{Env: map[string]string{"A": "1", "TARGETOS": "mine"}}}
	got := steps([]*product{{name: "x", platform: "linux/arm/v7"}}, b)[0].Env
	want := map[string]string{"A": "1", "TARGETPLATFORM": "linux/arm/v7", "TARGETOS": "mine", "TARGETARCH": "arm", "TARGETVARIANT": "v7"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(b.Env) != 2 {
		t.Error("the pipeline file's own environment was changed")
	}
}

func TestReproduced(t *testing.T) {
	file := func(path, digest string) archive.File { return archive.File{Path: path, Digest: digest} }
	first := &product{name: "build", tar: &archive.Tar{Digest: "1"}, files: []archive.File{file("a", "1"), file("b", "1"), file("c", "1")}}
	same := &product{name: "build again", again: true, tar: &archive.Tar{Digest: "1"}, files: first.files}
	if err := reproduced([]*product{first, same}); err != nil {
		t.Error(err)
	}
	other := &product{name: "build again", again: true, tar: &archive.Tar{Digest: "2"}, files: []archive.File{file("a", "1"), file("b", "2"), file("d", "1")}}
	err := reproduced([]*product{first, other})
	if err == nil || !strings.HasSuffix(err.Error(), "these files differ:\n  b\n  c\n  d") {
		t.Errorf("got %v", err)
	}
}
