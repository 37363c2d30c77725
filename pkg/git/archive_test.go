package git_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace-cd/millrace/pkg/archive"
	"github.com/millrace-cd/millrace/pkg/git"
)

// tree is what Archive makes: name → mode and content or target.
func tree(t *testing.T, g *git.Git, repository, commit, dir string) (map[string]string, error) {
	t.Helper()
	var out bytes.Buffer
	if _, err := g.Archive(t.Context(), repository, commit, dir, &out); err != nil {
		return nil, err
	}
	files := map[string]string{}
	for r := tar.NewReader(&out); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = h.FileInfo().Mode().String() + " " + string(content) + h.Linkname
	}
}

func TestArchive(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	u.write("README", "hello\n")
	u.write("bin/run", "#!/bin/sh\n")
	u.write("bin-2/a", "")
	if err := errors.Join(os.Chmod(filepath.Join(u.dir, "bin/run"), 0o755), os.Symlink("../README", filepath.Join(u.dir, "bin/link"))); err != nil {
		t.Fatal(err)
	}
	hash := u.commit("first")
	g := openGit(t, "file")
	fetch(t, g, u.dir, hash, main)
	for dir, want := range map[string]map[string]string{
		"":      {"README": "-rw-r--r-- hello\n", "bin/run": "-rwxr-xr-x #!/bin/sh\n", "bin-2/a": "-rw-r--r-- ", "bin/link": "Lrwxrwxrwx ../README"},
		".":     {"README": "-rw-r--r-- hello\n", "bin/run": "-rwxr-xr-x #!/bin/sh\n", "bin-2/a": "-rw-r--r-- ", "bin/link": "Lrwxrwxrwx ../README"},
		"bin-2": {"a": "-rw-r--r-- "},
	} {
		got, err := tree(t, g, u.dir, hash, dir)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("directory %q: %s", dir, diff)
		}
	}
	if _, err := tree(t, g, u.dir, hash, "bin"); !errors.Is(err, git.ErrRefused) {
		t.Errorf("error is %v: the link leads out of bin", err)
	}
	for _, dir := range []string{"none", "README"} {
		if _, err := tree(t, g, u.dir, hash, dir); !errors.Is(err, git.ErrNotFound) {
			t.Errorf("directory %q: error is %v, want ErrNotFound", dir, err)
		}
	}
	if _, err := tree(t, g, u.dir, hash, "../x"); !errors.Is(err, git.ErrRefused) {
		t.Errorf("error is %v, want ErrRefused", err)
	}
}

// The snapshot is what archive.Pack makes of the same files.
func TestArchiveIsPack(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	u.write("a", "1")
	hash := u.commit("first")
	g := openGit(t, "file")
	fetch(t, g, u.dir, hash, main)
	var got, want bytes.Buffer
	stats, err := g.Archive(t.Context(), u.dir, hash, "", &got)
	if err != nil {
		t.Fatal(err)
	}
	files, err := archive.Pack(&want, []archive.Entry{{Path: "a", Size: 1, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader("1")), nil
	}}}, archive.Source())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want.Bytes()) || stats != archive.Count(files) {
		t.Errorf("the tars differ, or %v and %v", stats, archive.Count(files))
	}
}

// No attribute, filter or submodule changes a byte of the tree.
func TestArchiveIsExactlyTheTree(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	want := map[string]string{
		".gitattributes": "[attr]gone export-ignore\nhidden gone\nsecret/** export-ignore\nversion export-subst\n*.bat text eol=crlf\n*.id ident\n*.bin filter=lfs diff=lfs\n*.u16 working-tree-encoding=UTF-16\n",
		".gitmodules":    "[submodule \"sub\"]\n\tpath = sub\n\turl = https://example.org/sub.git\n",
		".lfsconfig":     "[lfs]\n\turl = https://example.org/lfs\n",
		"hidden":         "1",
		"secret/a":       "2",
		"version":        "$Format:%H$\n",
		"run.bat":        "a\nb\n",
		"x.id":           "$Id$\n",
		"large.bin":      "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
		"text.u16":       "plain",
	}
	for name, content := range want {
		u.write(name, content)
		want[name] = "-rw-r--r-- " + content
	}
	u.write(".gitattributes", "") // the client's filters are not the point
	u.commit("files")
	u.git("config", "core.safecrlf", "false")
	u.raw(strings.TrimPrefix(want[".gitattributes"], "-rw-r--r-- "), "-C", u.dir, "hash-object", "-w", "--stdin")
	attributes := u.raw(strings.TrimPrefix(want[".gitattributes"], "-rw-r--r-- "), "-C", u.dir, "hash-object", "-w", "--stdin")
	u.git("update-index", "--cacheinfo", "100644,"+attributes+",.gitattributes")
	u.git("update-index", "--add", "--cacheinfo", "160000,"+u.git("rev-parse", "HEAD")+",sub")
	u.git("commit", "--quiet", "-m", "attributes")
	hash := u.git("rev-parse", "HEAD")

	g := openGit(t, "file")
	fetch(t, g, u.dir, hash, main)
	got, err := tree(t, g, u.dir, hash, "")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Trees that no git makes by itself: either fetching or archiving refuses them.
func TestHostileTrees(t *testing.T) {
	t.Parallel()
	for name, entries := range map[string][]string{
		"link out":                      {"120000 blob LINK-../../etc/passwd\tlink"},
		"absolute link":                 {"120000 blob LINK-/etc/passwd\tlink"},
		"link that climbs later":        {"120000 blob LINK-a/../../x\tlink"},
		"newline in a name":             {"100644 blob FILE\ta\nb"},
		"escape in a name":              {"100644 blob FILE\ta\x1b[2J"},
		"name that is not UTF-8":        {"100644 blob FILE\ta\xff"},
		".git directory":                {"040000 tree TREE\t.git"},
		".GIT directory":                {"040000 tree TREE\t.GIT"},
		".git file":                     {"100644 blob FILE\t.git"},
		"dot":                           {"040000 tree TREE\t."},
		"dot dot":                       {"040000 tree TREE\t.."},
		"link under a directory's name": {"120000 blob LINK-..\td", "040000 tree TREE\td"},
		"link for .gitmodules":          {"120000 blob LINK-x\t.gitmodules"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newUpstream(t)
			file := u.raw("content", "-C", u.dir, "hash-object", "-w", "--stdin")
			sub := u.raw("100644 blob "+file+"\tfile\x00", "-C", u.dir, "mktree", "-z")
			var lines strings.Builder
			for _, e := range entries {
				if head, rest, ok := strings.Cut(e, "LINK-"); ok {
					target, tab, _ := strings.Cut(rest, "\t")
					e = head + u.raw(target, "-C", u.dir, "hash-object", "-w", "--stdin") + "\t" + tab
				}
				lines.WriteString(strings.NewReplacer("FILE", file, "TREE", sub).Replace(e) + "\x00")
			}
			hash := u.git("commit-tree", "-m", "hostile", u.raw(lines.String(), "-C", u.dir, "mktree", "-z"))
			u.git("update-ref", main, hash)

			g := openGit(t, "file")
			_, err := g.Fetch(t.Context(), u.dir, hash, main)
			if err == nil {
				_, err = tree(t, g, u.dir, hash, "")
			}
			if !errors.Is(err, git.ErrRefused) {
				t.Errorf("error is %v, want ErrRefused", err)
			}
			t.Log(err)
		})
	}
}

// A file that the mirror lost is seen when it is read; the next try fetches anew.
func TestArchiveHealsMirror(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	u.write("file", "content")
	hash := u.commit("first")
	dir := t.TempDir()
	g := openIn(t, dir, "file")
	fetch(t, g, u.dir, hash, main)
	loosen(t, u, mirrorIn(t, dir))
	blob := u.git("rev-parse", "HEAD:file")
	if err := os.Remove(filepath.Join(mirrorIn(t, dir), "objects", blob[:2], blob[2:])); err != nil {
		t.Fatal(err)
	}
	if _, err := tree(t, g, u.dir, hash, ""); err == nil || errors.Is(err, git.ErrNotFound) || errors.Is(err, git.ErrRefused) {
		t.Fatalf("error is %v, want one that is ours", err)
	}
	fetch(t, g, u.dir, hash, main)
	if _, err := tree(t, g, u.dir, hash, ""); err != nil {
		t.Error(err)
	}
}

// loosen makes a file out of each object of a repository's pack.
func loosen(t *testing.T, u *upstream, repository string) {
	t.Helper()
	packs, err := filepath.Glob(filepath.Join(repository, "objects/pack/*.pack"))
	if err != nil || len(packs) != 1 {
		t.Fatalf("packs are %v, %v", packs, err)
	}
	pack, err := os.ReadFile(packs[0])
	if err := errors.Join(err, os.RemoveAll(filepath.Dir(packs[0]))); err != nil {
		t.Fatal(err)
	}
	u.raw(string(pack), "--git-dir="+repository, "unpack-objects", "-q")
}
