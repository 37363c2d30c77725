package standin

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path"
	"strings"
	"testing"
)

// fake keeps what is imported.
type fake struct {
	has     map[string]bool
	files   map[string]int64
	links   map[string]string
	sum     string
	changes []string
	err     error
}

func (f *fake) HasImage(_ context.Context, ref string) (bool, error) { return f.has[ref], nil }

func (f *fake) Import(_ context.Context, tag string, r io.Reader, changes []string) error {
	if f.err != nil {
		return f.err
	}
	f.has[tag], f.changes, f.files, f.links = true, changes, map[string]int64{}, map[string]string{}
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
		if h.Linkname != "" {
			f.links[h.Name] = h.Linkname
		}
	}
	_, err := io.Copy(sum, r)
	f.sum = string(sum.Sum(nil))
	return err
}

// follow is where a name leads to, through links.
func (f *fake) follow(name string) string {
	for range 8 {
		target, link := f.links[name]
		if !link {
			break
		}
		if !path.IsAbs(target) {
			target = path.Join("/", path.Dir(name), target)
		}
		name = strings.TrimPrefix(target, "/")
	}
	return name
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
		"millrace-test/shell:1": true, "postgres:17-alpine": true, "python:3.13-slim": true, "gcc:14": true, "redis:8": false, "example.com/golang:1": false, "golang@sha256:00": false, "postgres/x:1": false, "": false,
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
		"python:3":     {"bin/sh", "usr/bin/python3", "usr/local/bin/python"},
		"gcc:14":       {"bin/sh", "usr/bin/gcc", "usr/bin/cc", "usr/bin/make", "usr/bin/as", "usr/bin/ld", "usr/include/stdio.h"},
		"postgres":     {"bin/sh", "usr/local/bin/docker-entrypoint.sh", "var/lib/postgresql/data/", "etc/passwd"},
	} {
		t.Run(ref, func(t *testing.T) {
			t.Parallel()
			checkMake(t, ref, files)
		})
	}
}

func checkMake(t *testing.T, ref string, files []string) {
	engine := &fake{has: map[string]bool{}}
	var said bytes.Buffer
	made, err := Make(t.Context(), engine, ref, &said)
	if err != nil && os.Geteuid() != 0 && strings.Contains(err.Error(), "apt-get") {
		t.Skip(err)
	}
	if err != nil || !made || !strings.Contains(said.String(), ref) {
		t.Fatalf("got %t, %v, said %q", made, err, said.String())
	}
	for _, name := range files {
		if at := engine.follow(name); engine.files[at] == 0 {
			t.Errorf("%s leads to %s, which is not there", name, at)
		}
	}
	for name := range engine.files {
		if strings.HasSuffix(name, "_test.go") || strings.Contains(name, "/testdata/") || strings.HasPrefix(name, "/") {
			t.Errorf("it has %s", name)
		}
	}
	if !strings.Contains(strings.Join(engine.changes, "\n"), "LABEL millrace.standin=true") {
		t.Errorf("got %q", engine.changes)
	}
	first := engine.sum
	if again, err := Make(t.Context(), engine, ref, nil); again || err != nil {
		t.Errorf("got %t, %v for what is there", again, err)
	}
	if err := Remove(t.Context(), engine, ref); err != nil {
		t.Error(err)
	}
	if again, err := Make(t.Context(), engine, ref, nil); !again || err != nil || engine.sum != first {
		t.Errorf("got %t, %v, or other bytes", again, err)
	}
}

func TestLibraryOf(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"\tlibz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x00007f8a1c000000)\n": "/lib/x86_64-linux-gnu/libz.so.1",
		"\t/lib64/ld-linux-x86-64.so.2 (0x00007f8a1c200000)\n":                  "/lib64/ld-linux-x86-64.so.2",
		"\tlinux-vdso.so.1 (0x00007ffd3a9f2000)\n":                              "",
		"\tlibLLVM-14.so.1 => not found\n":                                      "",
		"/usr/bin/python3.11:\n":                                                "",
		"\tstatically linked\n":                                                 "",
	} {
		if got := libraryOf(line); got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}

func TestMakeFails(t *testing.T) {
	t.Parallel()
	if _, err := Make(t.Context(), &fake{}, "redis:8", nil); err == nil {
		t.Error("made what is not known")
	}
	full := errors.New("disk full")
	if _, err := Make(t.Context(), &fake{err: full}, "busybox", nil); !errors.Is(err, full) {
		t.Errorf("got %v, want %v", err, full)
	}
	if err := Remove(t.Context(), &fake{}, "busybox"); err == nil {
		t.Error("removed what is no stand-in")
	}
}
