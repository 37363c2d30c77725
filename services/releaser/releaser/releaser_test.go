package releaser

import (
	"slices"
	"strings"
	"testing"

	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/pipeline"
	"github.com/millrace-cd/millrace/pkg/service"
	"github.com/millrace-cd/millrace/pkg/stage"
	"github.com/millrace-cd/millrace/pkg/store"
)

func TestRepository(t *testing.T) {
	r := releaser{kit: &service.Kit{Config: service.Config{RegistryPublic: "127.0.0.1:5000"}}}
	for image, want := range map[string]string{
		"shop": "127.0.0.1:5000/shop", "shop/web": "127.0.0.1:5000/shop/web", "127.0.0.1:5000/shop": "127.0.0.1:5000/shop",
		"registry.example.com/hello": "registry.example.com/hello", "localhost/hello": "localhost/hello", "host:5000/hello": "host:5000/hello",
		"other": "", "shopping": "", "millrace/shop/snapshot": "", "127.0.0.1:5000/other": "", "acme/shop": "",
	} {
		if got, err := r.repository("shop", image); got != want || (err == nil) != (want != "") {
			t.Errorf("%s is published as %q, want %q: %v", image, got, want, err)
		}
	}
}

func TestFixed(t *testing.T) {
	for glob, want := range map[string]string{"dist/hello": "dist/", "hello": "", "dist/": "dist/", "dist/**": "dist/", "web/*/x": "web/", "dist/a*": "dist/"} {
		if got := fixed(glob); got != want {
			t.Errorf("%s keeps paths below %q, want %q", glob, got, want)
		}
	}
}

func TestBeforeSteps(t *testing.T) {
	for name, tt := range map[string]struct{ before, want []string }{
		"nothing":        {},
		"words":          {[]string{"/app migrate --to=3"}, []string{"before: /app migrate --to=3 | "}},
		"several":        {[]string{"/app migrate", "/app seed"}, []string{"before: /app migrate | ", "before-2: /app seed | "}},
		"a script":       {[]string{"/app migrate", "/app seed || true"}, []string{"before:  | /app migrate;/app seed || true"}},
		"of the shell":   {[]string{"cd /app", "./migrate"}, []string{"before:  | cd /app;./migrate"}},
		"with variables": {[]string{"/app migrate $DB"}, []string{"before:  | /app migrate $DB"}},
	} {
		var got []string
		for _, s := range beforeSteps(pipeline.ReleaseEnvironment{Before: tt.before}) {
			got = append(got, s.Name+": "+strings.Join(s.Shell, " ")+" | "+strings.Join(s.Run, ";"))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

func TestTags(t *testing.T) {
	for _, tt := range []struct {
		template, name string
		want           store.Tag // the zero value where it is an error
	}{
		{"latest", "latest", store.Tag{Name: "latest"}},
		{"${branch}", "main", store.Tag{Name: "main"}},
		{"1", "1", store.Tag{Name: "1"}},
		{"v1.2", "v1.2", store.Tag{Name: "v1.2"}},
		{"v1.2.3", "v1.2.3", store.Tag{Name: "v1.2.3", Fixed: true}},
		{"1.2.3-rc.1", "1.2.3-rc.1", store.Tag{Name: "1.2.3-rc.1", Fixed: true}},
		{"${short}", "abcdef0", store.Tag{Name: "abcdef0", Fixed: true}},
		{"release-${number}", "release-7", store.Tag{Name: "release-7", Fixed: true}},
		{"${version}", "latest", store.Tag{Name: "latest", Fixed: true}},
		{"${branch}", "feature/x", store.Tag{}},
		{"${tag}", "", store.Tag{}},
	} {
		got, err := tagsOf([]string{tt.template}, []string{tt.name})
		switch outcome, _ := stage.Outcome(err); {
		case tt.want == store.Tag{}:
			if outcome != event.Failed {
				t.Errorf("%s: got %v, %v", tt.template, got, err)
			}
		case err != nil || len(got) != 1 || got[0] != tt.want:
			t.Errorf("%s: got %v, %v, want %v", tt.template, got, err, tt.want)
		}
	}
	if got, err := tagsOf([]string{"${tag}", "latest"}, []string{"", "latest"}); err != nil || len(got) != 1 {
		t.Errorf("an empty one is left out: %v, %v", got, err)
	}
}
