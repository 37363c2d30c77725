package pipeline

import (
	"strings"
	"testing"
)

var someVars = Vars{
	Commit: "c0ffee", Short: "c0f", Branch: "main", Version: "0.0.0-7.c0f", Number: "7", App: "shop",
	Repository: "https://example.com/shop.git", Matrix: map[string]string{"go-version": "1.26"},
}

func TestVersion(t *testing.T) {
	t.Parallel()
	for ref, want := range map[string]string{
		"refs/tags/v1.2.3":  "1.2.3",
		"refs/tags/1.2.3":   "1.2.3",
		"refs/tags/vendor":  "vendor",
		"refs/tags/v":       "v",
		"refs/tags/":        "0.0.0-7.c0f",
		"refs/heads/main":   "0.0.0-7.c0f",
		"refs/heads/v1.2.3": "0.0.0-7.c0f",
		"":                  "0.0.0-7.c0f",
	} {
		check(t, "version of "+ref, Version(ref, 7, "c0f"), want)
	}
}

func TestExpand(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                               "",
		"plain $HOME $5":                 "plain $HOME $5",
		"${app}:${version}":              "shop:0.0.0-7.c0f",
		"${tag}":                         "",
		"golang:${matrix.go-version}":    "golang:1.26",
		"$${app} and ${app}":             "${app} and shop",
		"error: ${vresion}":              `unknown variable ${vresion}: did you mean "version"?`,
		"error: ${matrix.go}":            "unknown variable ${matrix.go}",
		"error: ${HOME}":                 "unknown variable ${HOME}",
		"error: ${app":                   "unknown variable ${",
		"error: ${ app}":                 "unknown variable ${ app}",
		"error: ${terraform.url}":        "unknown variable ${terraform.url}",
		"${repository}#${commit}":        "https://example.com/shop.git#c0ffee",
		"${number} ${short} ${branch} .": "7 c0f main .",
	} {
		text, bad := strings.CutPrefix(text, "error: ")
		got, err := someVars.Expand(text)
		switch {
		case bad && (err == nil || !strings.HasPrefix(err.Error(), want)):
			t.Errorf("%s: got error %v, want %s", text, err, want)
		case !bad && err != nil:
			t.Errorf("%s: %v", text, err)
		case !bad && got != want:
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

func TestEnv(t *testing.T) {
	t.Parallel()
	check(t, "env", someVars.Env(), map[string]string{
		"MILLRACE_COMMIT": "c0ffee", "MILLRACE_SHORT": "c0f", "MILLRACE_BRANCH": "main", "MILLRACE_TAG": "",
		"MILLRACE_VERSION": "0.0.0-7.c0f", "MILLRACE_NUMBER": "7", "MILLRACE_APP": "shop",
		"MILLRACE_REPOSITORY": "https://example.com/shop.git", "MATRIX_GO_VERSION": "1.26",
	})
	deploy := Vars{Image: "r@sha256:1", Terraform: map[string]string{"url": "http://x"}}.Env()
	check(t, "image", deploy["MILLRACE_IMAGE"], "r@sha256:1")
	check(t, "output", deploy["TERRAFORM_URL"], "http://x")
}

// TestExpandCopies fills in texts everywhere but in scripts, and leaves the file alone.
func TestExpandCopies(t *testing.T) {
	t.Parallel()
	f := parse(t, `
version: 1
name: x
test:
  a:
    image: i:${matrix.v}
    run: echo ${matrix.v} ${HOME}
    env: { A: "${app}" }
    cache: ["/c/${branch}"]
    matrix: { v: [1] }
    services: { db: { image: "db:${matrix.v}", command: ["${commit}"], ready: { run: "ping ${X}" } } }
build: { image: i, run: x, artifacts: ["dist/${version}"] }
release:
  image: r/${app}
  base: b
  files: { "${app}": "/${app}" }
  install: echo ${Y}
  labels: { c: "${commit}" }
  acceptance: { a: { image: "i:${matrix.v}", run: x, matrix: { v: [1] } } }
deploy:
  - name: p
    env: { E: "${environment}" }
    steps: [{ terraform: { dir: d } }, { exec: { image: "${terraform.i}", deploy: "echo ${Z}", rollback: x } }]
    check: [{ http: "${terraform.url}/" }]
`)
	v := someVars
	v.Matrix = map[string]string{"v": "1"}
	s, err := f.Test["a"].Expand(v)
	if err != nil {
		t.Fatal(err)
	}
	check(t, "image", s.Image, "i:1")
	check(t, "script", s.Run, []string{"echo ${matrix.v} ${HOME}"})
	check(t, "env", s.Env, map[string]string{"A": "shop"})
	check(t, "cache", s.Cache, []Cache{{Path: "/c/main"}})
	check(t, "service", []string{s.Services["db"].Image, s.Services["db"].Command[0], s.Services["db"].Ready.Run[0]}, []string{"db:1", "c0ffee", "ping ${X}"})
	check(t, "the file's command", f.Test["a"].Services["db"].Command, []string{"${commit}"})
	check(t, "the file's cache", f.Test["a"].Cache, []Cache{{Path: "/c/${branch}"}})
	check(t, "the file's env", f.Test["a"].Env, map[string]string{"A": "${app}"})

	v.Matrix, v.Environment = nil, "p"
	r, err := f.Release.Expand(v)
	if err != nil {
		t.Fatal(err)
	}
	check(t, "release", []string{r.Image, r.Labels["c"], r.Install[0], r.Tags[0]}, []string{"r/shop", "c0ffee", "echo ${Y}", "c0f"})
	check(t, "files", r.Files, []FileMap{{From: "shop", To: "/shop"}})
	b, err := f.Build.Expand(v)
	if err != nil {
		t.Fatal(err)
	}
	check(t, "artifacts", b.Artifacts, []string{"dist/0.0.0-7.c0f"})
	expandTarget(t, &f.Deploy[0], v)
}

func expandTarget(t *testing.T, target *Target, v Vars) {
	t.Helper()
	got, err := target.Expand(v)
	if err != nil {
		t.Fatal(err)
	}
	check(t, "target's env", got.Env, map[string]string{"E": "p"})
	if _, err := got.Drivers[1].Expand(v); err == nil || !strings.Contains(err.Error(), "expand driver exec: unknown variable ${terraform.i}") {
		t.Errorf("got %v, want an unknown output", err)
	}
	v.Terraform = map[string]string{"i": "img", "url": "http://u"}
	driver, err := got.Drivers[1].Expand(v)
	if err != nil {
		t.Fatal(err)
	}
	check(t, "driver", *driver.Exec, Exec{Image: "img", Deploy: []string{"echo ${Z}"}, Rollback: []string{"x"}})
	probe, err := got.Check[0].Expand(v)
	if err != nil {
		t.Fatal(err)
	}
	check(t, "check", probe.HTTP, "http://u/")
}

func TestNearest(t *testing.T) {
	t.Parallel()
	known := []string{"image", "run", "services", "fail_fast", "needs", "env", "auto"}
	for name, want := range map[string]string{
		"servces": "services", "iamge": "image", "failFast": "fail_fast", "FAIL-FAST": "fail_fast", "rnu": "run",
		"depends_on": "needs", "environment": "env", "automatic": "auto", "colour": "", "": "",
		strings.Repeat("x", 100): "",
	} {
		check(t, name, nearest(name, known), want)
	}
}
