package git_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/millrace-cd/millrace/pkg/git"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const main = "refs/heads/main"

// upstream is a repository that somebody else pushes to.
type upstream struct {
	t   *testing.T
	dir string
}

func newUpstream(t *testing.T, options ...string) *upstream {
	t.Helper()
	u := &upstream{t: t, dir: filepath.Join(t.TempDir(), "shop")}
	u.raw("", append([]string{"init", "--quiet", "--initial-branch=main"}, append(options, u.dir)...)...)
	return u
}

// git runs it without the settings of whoever runs the tests.
func (u *upstream) git(args ...string) string {
	u.t.Helper()
	return u.raw("", append([]string{"-C", u.dir}, args...)...)
}

func (u *upstream) raw(stdin string, args ...string) string {
	u.t.Helper()
	cmd := exec.CommandContext(u.t.Context(), "git", args...)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.org", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.org",
		"GIT_AUTHOR_DATE=2026-01-02T03:04:05Z", "GIT_COMMITTER_DATE=2026-01-02T03:04:05Z",
	}
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		u.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (u *upstream) write(name, content string) {
	u.t.Helper()
	name = filepath.Join(u.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), 0o644)); err != nil {
		u.t.Fatal(err)
	}
}

// commit adds everything and gives the new commit's hash.
func (u *upstream) commit(message string) string {
	u.t.Helper()
	u.git("add", "--all")
	u.git("commit", "--quiet", "--allow-empty", "-m", message)
	return u.git("rev-parse", "HEAD")
}

func openGit(t *testing.T, protocols ...string) *git.Git {
	t.Helper()
	return openIn(t, t.TempDir(), protocols...)
}

func openIn(t *testing.T, dir string, protocols ...string) *git.Git {
	t.Helper()
	g, err := git.Open(git.Config{Dir: dir, Protocols: protocols, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func fetch(t *testing.T, g *git.Git, repository, commit, ref string) git.Commit {
	t.Helper()
	c, err := g.Fetch(t.Context(), repository, commit, ref)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestFetchTellsAboutCommit(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]string{"sha1": nil, "sha256": {"--object-format=sha256"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newUpstream(t, options...)
			u.write("a", "1")
			hash := u.commit("first \x1b[31mline\x1b[0m\n\nmore")
			got := fetch(t, openGit(t, "file"), "file://"+u.dir, hash, main)
			want := git.Commit{
				Hash: hash, Tree: u.git("rev-parse", "HEAD^{tree}"), Author: "Ada <ada@example.org>",
				Message: "first  [31mline [0m", Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFetchUsesMirror(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	first := u.commit("first")
	second := u.commit("second")
	g := openGit(t, "file")
	fetch(t, g, u.dir, second, main)
	if err := os.Rename(u.dir, u.dir+".gone"); err != nil {
		t.Fatal(err)
	}
	fetch(t, g, u.dir, second, main)
	fetch(t, g, u.dir, first, main)
	fetch(t, g, u.dir, first, "")
	if _, err := g.Fetch(t.Context(), u.dir, first, "refs/heads/other"); !errors.Is(err, git.ErrNotFound) {
		t.Errorf("error is %v: the mirror cannot know that the commit is on another branch", err)
	}
}

func TestFetchFollowsBranch(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	g := openGit(t, "file")
	for _, message := range []string{"first", "second", "third"} {
		fetch(t, g, u.dir, u.commit(message), main)
	}
	u.git("tag", "-m", "annotated", "v1.0")
	fetch(t, g, u.dir, u.git("rev-parse", "HEAD"), "refs/tags/v1.0")
	u.git("branch", "a")
	fetch(t, g, u.dir, u.git("rev-parse", "HEAD"), "refs/heads/a")
	u.git("branch", "-D", "a")
	u.git("branch", "a/b") // where a branch was is a directory now
	fetch(t, g, u.dir, u.git("rev-parse", "HEAD"), "refs/heads/a/b")
}

func TestFetchAfterForcedPush(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	u.commit("base")
	seen := u.commit("seen before it was replaced")
	g := openGit(t, "file")
	fetch(t, g, u.dir, seen, main)
	u.git("reset", "--quiet", "--hard", "HEAD~1")
	unseen := u.commit("replaced before anybody saw it")
	u.git("reset", "--quiet", "--hard", "HEAD~1")
	last := u.commit("last")

	fetch(t, g, u.dir, last, main)
	fetch(t, g, u.dir, seen, main) // a second try, say after a crash
	if _, err := g.Fetch(t.Context(), u.dir, unseen, main); !errors.Is(err, git.ErrNotFound) {
		t.Errorf("error is %v, want ErrNotFound", err)
	}
	fetch(t, g, u.dir, unseen, "") // nobody claimed that it is on a branch
}

func TestFetchErrors(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	hash := u.commit("first")
	u.git("checkout", "--quiet", "-b", "other")
	other := u.commit("on another branch")
	u.git("tag", "-m", "annotated", "v1.0", other)
	tag := u.git("rev-parse", "v1.0")
	blob := u.raw("text", "-C", u.dir, "hash-object", "-w", "--stdin")
	none := strings.Repeat("0", 39) + "1"
	for name, tt := range map[string]struct {
		repository, commit, ref string
		want                    error
	}{
		"no such repository":       {u.dir + "x", hash, main, git.ErrNotFound},
		"no such repository, hash": {u.dir + "x", hash, "", git.ErrNotFound},
		"no such ref":              {u.dir, hash, "refs/heads/none", git.ErrNotFound},
		"no such commit":           {u.dir, none, "", git.ErrNotFound},
		"no such commit on ref":    {u.dir, none, main, git.ErrNotFound},
		"commit of another ref":    {u.dir, other, main, git.ErrNotFound},
		"hash of a tag":            {u.dir, tag, "refs/tags/v1.0", git.ErrNotFound},
		"hash of a file":           {u.dir, blob, "", git.ErrNotFound},
		"hash of other length":     {u.dir, hash + strings.Repeat("0", 24), main, git.ErrRefused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := openGit(t, "file").Fetch(t.Context(), tt.repository, tt.commit, tt.ref); !errors.Is(err, tt.want) {
				t.Errorf("error is %v, want %v", err, tt.want)
			}
		})
	}
}

func TestFetchByManyAtOnce(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	var hashes []string
	for range 4 {
		hashes = append(hashes, u.commit("next"))
	}
	dir := t.TempDir()
	done := make(chan error)
	for i, hash := range hashes {
		g := openIn(t, dir, "file") // as another process would
		go func() {
			ref := []string{main, ""}[i%2]
			_, err := g.Fetch(t.Context(), u.dir, hash, ref)
			done <- err
		}()
	}
	for range hashes {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// What a fetch leaves that was killed in the middle: its mark, lock files and a
// half-written pack.
func TestFetchAfterKilledOne(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	first := u.commit("first")
	dir := t.TempDir()
	g := openIn(t, dir, "file")
	fetch(t, g, u.dir, first, main)
	mirror := mirrorIn(t, dir)
	tips, err := filepath.Glob(filepath.Join(mirror, "refs/millrace/tip/*"))
	if err != nil || len(tips) != 1 {
		t.Fatalf("tips are %v, %v", tips, err)
	}
	for _, name := range []string{"millrace-busy", "packed-refs.lock", "config.lock", "objects/pack/tmp_pack_x", strings.TrimPrefix(tips[0], mirror) + ".lock"} {
		if err := os.WriteFile(filepath.Join(mirror, name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fetch(t, g, u.dir, u.commit("second"), main)
}

// What a power cut leaves: files that were not written yet.
func TestFetchAfterPowerCut(t *testing.T) {
	t.Parallel()
	for name, hurt := range map[string]string{"objects": "objects/pack/pack-*.pack", "refs": "refs/millrace/tip/*", "HEAD": "HEAD"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newUpstream(t)
			u.write("file", "content")
			hash := u.commit("first")
			dir := t.TempDir()
			g := openIn(t, dir, "file")
			fetch(t, g, u.dir, hash, main)
			files, err := filepath.Glob(filepath.Join(mirrorIn(t, dir), hurt))
			if err != nil || len(files) == 0 {
				t.Fatalf("nothing to hurt: %v", err)
			}
			for _, name := range files {
				if err := errors.Join(os.Chmod(name, 0o600), os.Truncate(name, 0)); err != nil {
					t.Fatal(err)
				}
			}
			fetch(t, g, u.dir, hash, main)
			if _, err := tree(t, g, u.dir, hash, ""); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFetchEndsWithContext(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	hash := u.commit("first")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := openGit(t, "file").Fetch(ctx, u.dir, hash, main)
	if !errors.Is(err, context.Canceled) || errors.Is(err, git.ErrNotFound) {
		t.Errorf("error is %v, want canceled", err)
	}
}

func mirrorIn(t *testing.T, dir string) string {
	t.Helper()
	mirrors, err := filepath.Glob(filepath.Join(dir, "*.git"))
	if err != nil || len(mirrors) != 1 {
		t.Fatalf("mirrors are %v, %v", mirrors, err)
	}
	return mirrors[0] + "/"
}
