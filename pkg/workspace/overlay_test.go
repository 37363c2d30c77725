package workspace_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/millrace-cd/millrace/pkg/archive"
	"github.com/millrace-cd/millrace/pkg/workspace"
)

func layers() map[string]string {
	return map[string]string{
		"keep": "1", "change": "1", "remove": "1", "dir/a": "1", "dir/b": "1", "anew/old": "1", "anew/sub/old": "1", "gone/a": "1",
		"file-to-dir": "1", "dir-to-file/a": "1", "dir-to-link/a": "1", "link": "-> keep", "rename/a": "1", "rename/b/c": "1", "mode": "1", "link-to-dir": "-> dir",
	}
}

// change does to the mounted view what a step might.
func change(dir string) error {
	at := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, text string) error { return os.WriteFile(at(name), []byte(text), 0o644) }
	return errors.Join(
		write("change", "2"), os.Remove(at("remove")), write("dir/a", "2"), os.Remove(at("dir/b")), write("dir/c", "2"),
		os.RemoveAll(at("anew")), os.Mkdir(at("anew"), 0o755), write("anew/new", "2"), os.Mkdir(at("anew/sub"), 0o755),
		os.RemoveAll(at("gone")),
		os.Remove(at("file-to-dir")), os.Mkdir(at("file-to-dir"), 0o755), write("file-to-dir/x", "2"),
		os.RemoveAll(at("dir-to-file")), write("dir-to-file", "2"),
		os.RemoveAll(at("dir-to-link")), os.Symlink("dir", at("dir-to-link")),
		os.Remove(at("link")), write("link", "2"),
		os.Chmod(at("mode"), 0o755|fs.ModeSetuid),
		write("new", "2"), os.Symlink("/etc/passwd", at("out")), os.Remove(at("out")),
		os.Remove(at("keep")), write("keep", "3"),
	)
}

// mount mounts the view as the engine does and lets f work in it.
func mount(t *testing.T, options string, f func(dir string) error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may mount")
	}
	dir := t.TempDir()
	if err := unix.Mount("overlay", dir, "overlay", 0, options); err != nil {
		t.Skipf("mount overlay: %v", err)
	}
	if err := errors.Join(f(dir), unix.Unmount(dir, 0)); err != nil {
		t.Fatal(err)
	}
}

// What Files gives is what the kernel shows, whichever way it makes its marks.
func TestFilesIsWhatTheKernelShows(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]func(*workspace.View) string{
		"view's options": (*workspace.View).Options,
		"trusted marks": func(v *workspace.View) string {
			return "lowerdir=" + v.Lower + ",upperdir=" + v.Upper + ",workdir=" + v.Work + ",redirect_dir=nofollow,metacopy=off"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := viewOf(t, treeOf(t, openCache(t, t.TempDir()), 1, layers()), "one")
			var want map[string]string
			mount(t, options(v), func(dir string) error {
				if err := change(dir); err != nil {
					return err
				}
				if err := os.Rename(filepath.Join(dir, "rename"), filepath.Join(dir, "renamed")); err != nil && !errors.Is(err, unix.EXDEV) {
					return err
				}
				want = shown(t, dir)
				return nil
			})
			got, err := read(t, v, "**")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if want["anew/old"] != "" || want["anew/new"] == "" {
				t.Errorf("the test is wrong: %v", want)
			}
			if err := v.Remove(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A directory that the kernel alone can follow to its files must not pass for an
// empty one.
func TestFilesRefusesRedirects(t *testing.T) {
	t.Parallel()
	v := viewOf(t, treeOf(t, openCache(t, t.TempDir()), 1, layers()), "one")
	mount(t, "lowerdir="+v.Lower+",upperdir="+v.Upper+",workdir="+v.Work+",redirect_dir=on,metacopy=on", func(dir string) error {
		return errors.Join(os.Rename(filepath.Join(dir, "rename"), filepath.Join(dir, "renamed")), os.Chmod(filepath.Join(dir, "mode"), 0o755))
	})
	if _, err := read(t, v, "renamed"); err == nil || !strings.Contains(err.Error(), "redirect_dir") {
		t.Errorf("error is %v, want one that names redirect_dir", err)
	}
	entries, err := v.Files([]string{"mode"}, archive.Artifact())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := entries[0].Open(); err == nil || !strings.Contains(err.Error(), "metacopy") {
		t.Errorf("error is %v, want one that names metacopy", err)
	}
}

func shown(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if d.Type() == fs.ModeSymlink {
			target, err := os.Readlink(filepath.Join(dir, name))
			files[name] = "-> " + target
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		if files[name] = string(data); info.Mode()&0o111 != 0 {
			files[name] = "x " + string(data)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
