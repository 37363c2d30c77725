package standin

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"testing"
)

// fake keeps what is imported.
type fake struct {
	has     map[string]bool
	files   map[string]int64
	sum     string
	changes []string
	err     error
}

func (f *fake) HasImage(_ context.Context, ref string) (bool, error) { return f.has[ref], nil }

func (f *fake) Import(_ context.Context, tag string, r io.Reader, changes []string) error {
	if f.err != nil {
		return f.err
	}
	f.has[tag], f.changes, f.files = true, changes, map[string]int64{}
	sum := sha256.New()
	for in := tar.NewReader(io.TeeReader(r, sum)); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		f.files[h.Name] = h.Mode
	}
	_, err := io.Copy(sum, r)
	f.sum = string(sum.Sum(nil))
	return err
}

func (f *fake) Images(context.Context, string) ([]string, error) {
	var names []string
	for name := range f.has {
		names = append(names, name)
	}
	return names, nil
}

func (f *fake) RemoveImage(_ context.Context, ref string) error { delete(f.has, ref); return nil }

func TestKnown(t *testing.T) {
	t.Parallel()
	for ref, want := range map[string]bool{
		"golang:1.26": true, "golang": true, "docker.io/library/golang:1.26-alpine": true, "busybox:1.37": true, "alpine:3.22": true,
		"millrace-test/shell:1": true, "postgres:17": false, "example.com/golang:1": false, "golang@sha256:00": false, "": false,
	} {
		if got := Known(ref); got != want {
			t.Errorf("%q: got %t", ref, got)
		}
	}
}

func TestMake(t *testing.T) {
	t.Parallel()
	for ref, files := range map[string][]string{
		"busybox:1.37": {"bin/busybox", "bin/sh", "bin/wget", "usr/bin/env", "etc/passwd", "tmp/"},
		"golang:1.26":  {"bin/sh", "usr/local/go/bin/go", "usr/local/go/src/fmt/print.go", "usr/local/go/VERSION", "go/bin/"},
	} {
		engine := &fake{has: map[string]bool{}}
		var said bytes.Buffer
		made, err := Make(t.Context(), engine, ref, &said)
		if err != nil || !made || !strings.Contains(said.String(), ref) {
			t.Fatalf("%s: got %t, %v, said %q", ref, made, err, said.String())
		}
		for _, name := range files {
			if engine.files[name] == 0 {
				t.Errorf("%s: no %s", ref, name)
			}
		}
		for name := range engine.files {
			if strings.HasSuffix(name, "_test.go") || strings.Contains(name, "/testdata/") || strings.HasPrefix(name, "/") {
				t.Errorf("%s: has %s", ref, name)
			}
		}
		if !strings.Contains(strings.Join(engine.changes, "\n"), "LABEL millrace.standin=true") {
			t.Errorf("%s: got %q", ref, engine.changes)
		}
		first := engine.sum
		if again, err := Make(t.Context(), engine, ref, nil); again || err != nil {
			t.Errorf("%s: got %t, %v for what is there", ref, again, err)
		}
		if err := Remove(t.Context(), engine, ref); err != nil {
			t.Error(err)
		}
		if again, err := Make(t.Context(), engine, ref, nil); !again || err != nil || engine.sum != first {
			t.Errorf("%s: got %t, %v, or other bytes", ref, again, err)
		}
	}
}

func TestMakeFails(t *testing.T) {
	t.Parallel()
	if _, err := Make(t.Context(), &fake{}, "postgres:17", nil); err == nil {
		t.Error("made a database")
	}
	full := errors.New("disk full")
	if _, err := Make(t.Context(), &fake{err: full}, "busybox", nil); !errors.Is(err, full) {
		t.Errorf("got %v, want %v", err, full)
	}
	if err := Remove(t.Context(), &fake{}, "busybox"); err == nil {
		t.Error("removed what is no stand-in")
	}
}
