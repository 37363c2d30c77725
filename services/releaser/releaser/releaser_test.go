package releaser

import (
	"slices"
	"strings"
	"testing"

	"github.com/millrace-cd/millrace/pkg/pipeline"
	"github.com/millrace-cd/millrace/pkg/service"
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
