package container

import (
	"context"
	"io"
	"log" //nolint:depguard // the registry wants one to keep quiet
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/registry"
)

func TestOperatorRefused(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Operator{
		"variable":         {Env: map[string]string{"A=B": "x"}},
		"relative":         {CADir: "certs"},
		"root":             {CADir: "/"},
		"option":           {CADir: "/etc/ssl,rw"},
		"mirror with path": {Mirrors: map[string]string{"docker.io/library": "m.example.com"}},
		"scheme":           {Mirrors: map[string]string{"docker.io": "https://m.example.com"}},
		"no host":          {Mirrors: map[string]string{"docker.io": "mirror/hub"}},
		"upper case":       {Mirrors: map[string]string{"docker.io": "m.example.com/Hub"}},
		"slash at the end": {Mirrors: map[string]string{"docker.io": "m.example.com/"}},
		"empty":            {Mirrors: map[string]string{"docker.io": ""}},
	} {
		if _, err := Connect(t.Context(), Config{Instance: "x", Operator: o}); err == nil || !strings.Contains(err.Error(), "operator's settings") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestMirrored(t *testing.T) {
	t.Parallel()
	o := Operator{Mirrors: map[string]string{"docker.io": "mirror.example.com/hub", "ghcr.io": "mirror.example.com:5000", "localhost:5000": "localhost:1/a-b/c"}}
	if err := o.check(); err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{
		"golang":                    "mirror.example.com/hub/library/golang",
		"golang:1.26":               "mirror.example.com/hub/library/golang:1.26",
		"acme/shop:1":               "mirror.example.com/hub/acme/shop:1",
		"docker.io/acme/shop":       "mirror.example.com/hub/acme/shop",
		"golang@sha256:aa":          "mirror.example.com/hub/library/golang@sha256:aa",
		"golang:1@sha256:aa":        "mirror.example.com/hub/library/golang:1@sha256:aa",
		"ghcr.io/a/b:1":             "mirror.example.com:5000/a/b:1",
		"localhost:5000/a":          "localhost:1/a-b/c/a",
		"quay.io/a/b:1":             "quay.io/a/b:1",
		"mirror.example.com/hub/x":  "mirror.example.com/hub/x",
		"docker.io.example.com/a/b": "docker.io.example.com/a/b",
	} {
		if got := o.mirrored(ref); got != want {
			t.Errorf("%s: got %s, want %s", ref, got, want)
		}
	}
}

func TestOperatorEnv(t *testing.T) {
	t.Parallel()
	o := Operator{Env: map[string]string{"HTTP_PROXY": "http://p", "http_proxy": "http://p", "NO_PROXY": "intern", "A": "1", "PIP_CERT": "/other"}, CADir: "/ca"}
	got := o.env(map[string]string{"A": "2", "CURL_CA_BUNDLE": "", "no_proxy": "*"}, []string{"db", "cache"})
	want := map[string]string{
		"HTTP_PROXY": "http://p", "http_proxy": "http://p", "NO_PROXY": "intern,db,cache", "no_proxy": "*", "A": "2",
		"SSL_CERT_FILE": caFile, "REQUESTS_CA_BUNDLE": caFile, "NODE_EXTRA_CA_CERTS": caFile, "GIT_SSL_CAINFO": caFile, "AWS_CA_BUNDLE": caFile,
		"CURL_CA_BUNDLE": "", "PIP_CERT": "/other",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := (Operator{}).env(nil, []string{"db"}); len(got) > 0 {
		t.Errorf("got %v of nothing", got)
	}
	if got := (Operator{Env: map[string]string{"https_proxy": "http://p"}}).env(nil, []string{"db"}); got["NO_PROXY"] != "db" || got["no_proxy"] != "db" {
		t.Errorf("got %v", got)
	}
}

// Steps and services have what the operator gives them, and cannot change it for others.
func TestOperator(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bundle := filepath.Join(dir, "ca-certificates.crt")
	if err := os.WriteFile(bundle, []byte("authority\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	e := connect(t, func(c *Config) {
		c.Operator = Operator{Env: map[string]string{"HTTP_PROXY": "http://proxy", "A": "operator"}, CADir: dir}
	})
	s, err := e.Open(t.Context(), Owner{App: "shop", Stage: "test"}, SessionOptions{Network: Private, Services: []string{"db"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	const look = "echo $HTTP_PROXY $NO_PROXY $A; cat $SSL_CERT_FILE; echo forged 2>/dev/null >$PIP_CERT || echo read-only"
	const want = "http://proxy db own\nauthority\nread-only\n"
	for name, step := range map[string]Step{"root": {}, "user": {User: "1000"}, "strict": {Strict: true}, "ungated": {Shell: []string{"/bin/ash", "-ec"}}} {
		step.Run, step.Env, step.Mounts = []string{look}, map[string]string{"A": "own"}, []Mount{{Target: "/run", Tmpfs: 1 << 20}}
		if out, exit := run(t, s, step); out != want || exit.Code != 0 {
			t.Errorf("%s: got %q, %+v, want %q", name, out, exit, want)
		}
	}
	r, err := s.Service(t.Context(), Service{Name: "db", Image: shellImage, Env: map[string]string{"A": "own"}, Command: []string{"/bin/sh", "-c", look}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if lines, err := r.Logs(t.Context(), -1); err != nil || strings.Join(lines, "\n")+"\n" != want {
		t.Errorf("got %q, %v from a service", lines, err)
	}
	if got, err := os.ReadFile(bundle); string(got) != "authority\n" {
		t.Errorf("the bundle is %q, %v", got, err)
	}
}

// A mirror is asked in place of the registry, once, and the image is known by its name.
func TestMirror(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	mirror := strings.TrimPrefix(server.URL, "http://") + "/hub"
	name := "millrace-test-" + random(4)
	digest := push(t, mirror+"/library/"+name+":1")
	pinned := mirror + "/library/" + name + "@" + digest

	e := connect(t, func(c *Config) { c.Operator.Mirrors = map[string]string{"docker.io": mirror} })
	t.Cleanup(func() {
		_ = e.RemoveImage(context.Background(), pinned)
		_ = e.RemoveImage(context.Background(), mirror+"/library/"+name+":1")
	})
	if _, err := e.Resolve(t.Context(), name+":1", PullNever); err == nil {
		t.Error("an image is here that was not pulled")
	}
	if _, err := e.Resolve(t.Context(), name+":2", PullMissing); err == nil || !strings.Contains(err.Error(), mirror) || !strings.Contains(err.Error(), "image "+name+":2") {
		t.Errorf("got %v, want both names", err)
	}
	for _, ref := range []string{name + ":1", name + "@" + digest} {
		if img, err := e.Resolve(t.Context(), ref, PullMissing); err != nil || img.Ref != ref || img.Pinned != pinned {
			t.Errorf("%s: got %s, %s, %v, want %s", ref, img.Ref, img.Pinned, err, pinned)
		}
	}
	server.Close()
	for _, ref := range []string{name + ":1", name + "@" + digest, pinned} {
		if img, err := e.Resolve(t.Context(), ref, PullMissing); err != nil || img.Ref != ref || img.Pinned != pinned {
			t.Errorf("%s without the mirror: got %s, %s, %v, want %s", ref, img.Ref, img.Pinned, err, pinned)
		}
	}
}
