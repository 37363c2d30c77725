package service

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace-cd/millrace/pkg/container"
)

func TestDefaults(t *testing.T) {
	t.Setenv("MILLRACE_DATA_DIR", "data")
	t.Setenv("MILLRACE_REGISTRY", "registry:5000")
	t.Setenv("MILLRACE_REGISTRY_MIRRORS", "docker.io=mirror.example.com/hub,quay.io=other.example.com")
	c, err := Parse[Config]()
	if err != nil {
		t.Fatal(err)
	}
	if c, err = c.orDefault("tester"); err != nil {
		t.Fatal(err)
	}
	if c.RegistryPublic != "registry:5000" || !filepath.IsAbs(c.DataDir) || c.EngineDataDir != c.DataDir || c.Worker == "" || c.Instance != DefaultInstance {
		t.Errorf("got %+v", c)
	}
	if diff := cmp.Diff(map[string]string{"docker.io": "mirror.example.com/hub", "quay.io": "other.example.com"}, c.Mirrors); diff != "" {
		t.Error(diff)
	}
}

func TestBadSettings(t *testing.T) {
	t.Setenv("MILLRACE_GRACE", "soon")
	t.Setenv("MILLRACE_CONCURRENCY", "many")
	if _, err := Parse[Config](); err == nil {
		t.Error("want both to be told")
	}
}

func TestOperator(t *testing.T) {
	dir, bundle := t.TempDir(), filepath.Join(t.TempDir(), "company.pem")
	if err := os.WriteFile(bundle, []byte("certificates"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := Config{DataDir: dir, EngineDataDir: "/engine", StepCAFile: bundle, StepHTTPProxy: "http://proxy:3128", StepNoProxy: "localhost", Mirrors: map[string]string{"a": "b"}}
	got, err := c.operator()
	if err != nil {
		t.Fatal(err)
	}
	want := container.Operator{
		CADir: "/engine/ca", Mirrors: map[string]string{"a": "b"},
		Env: map[string]string{"HTTP_PROXY": "http://proxy:3128", "http_proxy": "http://proxy:3128", "NO_PROXY": "localhost", "no_proxy": "localhost"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "ca", "ca-certificates.crt")); err != nil || string(data) != "certificates" {
		t.Errorf("the engine gets %q, %v", data, err)
	}
	c.StepCAFile = filepath.Join(dir, "absent")
	if _, err := c.operator(); err == nil {
		t.Error("a bundle that is not there is no error")
	}
}

func TestSweepFiles(t *testing.T) {
	dir := t.TempDir()
	old := time.Now().Add(-48 * time.Hour)
	for _, name := range []string{"old", "young"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(filepath.Join(dir, "old"), old, old); err != nil {
		t.Fatal(err)
	}
	if err := sweepFiles(dir, 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != "young" {
		t.Errorf("left %v, %v", left, err)
	}
	if err := sweepFiles(filepath.Join(dir, "absent"), time.Hour); err != nil {
		t.Error(err)
	}
}

func TestLogins(t *testing.T) {
	t.Setenv("MILLRACE_REGISTRY_LOGINS", "registry.example.com=ann:a:b=c\n 127.0.0.1:5000=bob:secret")
	c, err := Parse[Config]()
	if err != nil {
		t.Fatal(err)
	}
	want := Logins{"registry.example.com": {User: "ann", Password: "a:b=c"}, "127.0.0.1:5000": {User: "bob", Password: "secret"}}
	if diff := cmp.Diff(want, c.RegistryLogins); diff != "" {
		t.Error(diff)
	}
	for _, wrong := range []string{"secret", "host=secret", "host=:secret", "=a:secret", "host=a:"} {
		t.Setenv("MILLRACE_REGISTRY_LOGINS", wrong)
		if _, err := Parse[Config](); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v", wrong, err)
		}
	}
}
