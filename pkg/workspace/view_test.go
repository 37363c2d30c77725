package workspace_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/millrace-cd/millrace/pkg/archive"
	"github.com/millrace-cd/millrace/pkg/workspace"
)

// read gives what Files finds: path → content, or "-> target"; "x " before it
// says executable.
func read(t *testing.T, v *workspace.View, globs ...string) (map[string]string, error) {
	t.Helper()
	entries, err := v.Files(globs, archive.Artifact())
	if err != nil {
		return nil, err
	}
	got := map[string]string{}
	for _, e := range entries {
		if e.Link != "" {
			got[e.Path] = "-> " + e.Link
			continue
		}
		r, err := e.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil || int64(len(data)) != e.Size {
			t.Fatalf("%s: %d bytes of %d, %v", e.Path, len(data), e.Size, err)
		}
		if got[e.Path] = string(data); e.Executable {
			got[e.Path] = "x " + string(data)
		}
	}
	return got, nil
}

func TestGlobs(t *testing.T) {
	t.Parallel()
	v := viewOf(t, treeOf(t, openCache(t, t.TempDir()), 1, map[string]string{
		"bin/app": "", "bin/sub/x": "", "a.txt": "", "deep/er/b.txt": "", ".hidden": "", "link": "-> bin", "[x]": "",
	}), "one")
	if err := os.Mkdir(filepath.Join(v.Upper, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	for glob, want := range map[string]string{
		"bin/app": "bin/app", "bin": "bin/app bin/sub/x", "bin/": "bin/app bin/sub/x", "bin/*": "bin/app bin/sub/x", "bin/**": "bin/app bin/sub/x", "b?n/a*": "bin/app",
		"**/*.txt": "a.txt deep/er/b.txt", "*.txt": "a.txt", "./a.txt": "a.txt", "{a,b}.txt": "a.txt", "link": "link", "**/x": "bin/sub/x", ".*": ".hidden", `\[x]`: "[x]",
		".": ".hidden [x] a.txt bin/app bin/sub/x deep/er/b.txt link", "./": ".hidden [x] a.txt bin/app bin/sub/x deep/er/b.txt link",
		"none": "", "bin/app/": "", "link/app": "", "link/": "", "empty": "", "BIN": "",
	} {
		entries, err := v.Files([]string{glob}, archive.Artifact())
		var got []string
		for _, e := range entries {
			got = append(got, e.Path)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s matches %v, want %s", glob, got, want)
		}
		if missing := want == ""; missing != (err != nil) || missing && (!errors.Is(err, archive.ErrRefused) || !strings.Contains(err.Error(), fmt.Sprintf("%q matches no file", glob))) {
			t.Errorf("%s: error is %v", glob, err)
		}
	}
	if _, err := v.Files([]string{"bin/app", "none", "link/app"}, archive.Artifact()); err == nil || !strings.Contains(err.Error(), `"none" matches no file, "link/app" matches no file (link is a link`) {
		t.Errorf("error is %v, want one that names both", err)
	}
	for _, glob := range []string{"", "/etc", "..", "../x", "a/../../x", "a//b", "[", "a/{b"} {
		if _, err := v.Files([]string{glob}, archive.Artifact()); !errors.Is(err, archive.ErrRefused) {
			t.Errorf("%q: error is %v, want ErrRefused", glob, err)
		}
	}
}

// What a step can leave: nothing of it reaches out of the view, and nothing of it
// is packed that is not a file.
func TestHostileViews(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		make func(upper string) error
		glob string
		want string // of the error; "" = packed
	}{
		"fifo":                                {func(d string) error { return unix.Mkfifo(d+"/x", 0o644) }, "x", "neither a file nor a link"},
		"fifo that is not matched":            {func(d string) error { return unix.Mkfifo(d+"/x", 0o644) }, "a", ""},
		"device":                              {func(d string) error { return unix.Mknod(d+"/x", unix.S_IFCHR|0o644, int(unix.Mkdev(1, 3))) }, "x", "neither a file nor a link"},
		"socket":                              {func(d string) error { return unix.Mknod(d+"/x", unix.S_IFSOCK|0o644, 0) }, "**", "neither a file nor a link"},
		"link out":                            {func(d string) error { return os.Symlink("../../../../etc", d+"/x") }, "x", "leads out of the tree"},
		"absolute link":                       {func(d string) error { return os.Symlink("/etc/passwd", d+"/x") }, "x", "leads out of the tree"},
		"through a link out":                  {func(d string) error { return os.Symlink("/etc", d+"/x") }, "x/passwd", "x is a link"},
		"through a link to a directory below": {func(d string) error { return os.Symlink("dir", d+"/x") }, "x/*", "x is a link"},
		"link for a directory below":          {func(d string) error { return os.Symlink("/etc", d+"/dir") }, "dir/passwd", "dir is a link"},
		"newline":                             {func(d string) error { return os.WriteFile(d+"/x\ny", nil, 0o644) }, "**", "control characters"},
		"escape":                              {func(d string) error { return os.WriteFile(d+"/x\x1b[2J", nil, 0o644) }, "x*", "control characters"},
		"not UTF-8":                           {func(d string) error { return os.WriteFile(d+"/x\xff", nil, 0o644) }, "**", "not UTF-8"},
		"sparse and huge":                     {func(d string) error { return errors.Join(os.WriteFile(d+"/x", nil, 0o644), os.Truncate(d+"/x", 1<<40)) }, "x", "limit of a file"},
		"two over the limit": {func(d string) error {
			return errors.Join(os.WriteFile(d+"/x", nil, 0o644), os.Truncate(d+"/x", 1<<30), os.Link(d+"/x", d+"/y"), os.Link(d+"/x", d+"/z"))
		}, "*", "over its limit"},
		"deep":            {func(d string) error { return os.MkdirAll(d+strings.Repeat("/d", 200), 0o755) }, "**", "32 directories deep"},
		"deep but beside": {func(d string) error { return os.MkdirAll(d+strings.Repeat("/d", 200), 0o755) }, "a", ""},
		"many": {func(d string) error {
			for i := range 10_001 {
				if err := os.WriteFile(fmt.Sprintf("%s/f%d", d, i), nil, 0o600); err != nil {
					return err
				}
			}
			return nil
		}, "**", "more than 10000 files"},
		"set-user-id": {func(d string) error {
			return errors.Join(os.WriteFile(d+"/x", nil, 0o755), os.Chmod(d+"/x", 0o755|fs.ModeSetuid|fs.ModeSetgid))
		}, "x", ""},
		"false mark of a redirect": {func(d string) error {
			return errors.Join(os.Mkdir(d+"/x", 0o755), os.WriteFile(d+"/x/y", nil, 0o644), unix.Setxattr(d+"/x", "user.overlay.redirect", []byte("/etc"), 0))
		}, "x", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := viewOf(t, treeOf(t, openCache(t, t.TempDir()), 1, map[string]string{"a": "1", "dir/b": "1"}), "one")
			if err := tt.make(v.Upper); errors.Is(err, unix.EPERM) {
				t.Skip(err)
			} else if err != nil {
				t.Fatal(err)
			}
			entries, err := v.Files([]string{tt.glob}, archive.Artifact())
			if err == nil && tt.want != "" {
				_, err = archive.Pack(io.Discard, entries, archive.Artifact())
			}
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, archive.ErrRefused) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want ErrRefused that says %q", err, tt.want)
			}
		})
	}
}

// Between listing and packing nothing can be slipped in.
func TestFileThatWasReplaced(t *testing.T) {
	t.Parallel()
	for name, replace := range map[string]func(string) error{
		"link":      func(f string) error { return os.Symlink("other", f) },
		"link out":  func(f string) error { return os.Symlink("/etc/passwd", f) },
		"file":      func(f string) error { return os.WriteFile(f, []byte("other"), 0o600) },
		"fifo":      func(f string) error { return unix.Mkfifo(f, 0o600) },
		"directory": func(f string) error { return os.Mkdir(f, 0o700) },
	} {
		v := viewOf(t, treeOf(t, openCache(t, t.TempDir()), 1, map[string]string{"a": "1"}), "one")
		file := filepath.Join(v.Upper, "x")
		if err := errors.Join(os.WriteFile(file, []byte("1"), 0o600), os.WriteFile(v.Upper+"/other", []byte("2"), 0o600)); err != nil {
			t.Fatal(err)
		}
		entries, err := v.Files([]string{"x"}, archive.Artifact())
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Rename(file, file+"1"), replace(file)); err != nil {
			t.Fatal(err)
		}
		if r, err := entries[0].Open(); err == nil {
			_ = r.Close()
			t.Errorf("%s: it was opened", name)
		}
	}
}

func TestSharedTreeIsForAnyone(t *testing.T) {
	t.Parallel()
	c := openCache(t, t.TempDir())
	tar := tarOf(t, map[string]string{"a/b": "1"})
	for shared, want := range map[bool]string{false: "drwxr-xr-x drwxr-xr-x -rw-r--r--", true: "drwxrwxrwx drwxrwxrwx -rw-rw-rw-"} {
		tree, err := c.Tree(t.Context(), digestOf(1), shared, source(tar))
		if err != nil {
			t.Fatal(err)
		}
		v := viewOf(t, tree, fmt.Sprintf("shared-%t", shared))
		var got []string
		for _, name := range []string{v.Upper, filepath.Join(v.Lower, "a"), filepath.Join(v.Lower, "a/b")} {
			info, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, info.Mode().String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("shared %t: modes are %v, want %s", shared, got, want)
		}
	}
}
