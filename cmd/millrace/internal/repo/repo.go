// Package repo reads what is checked out in a directory, with the git command.
//
// Git runs without the caller's GIT_* variables, as it would when called by hand in
// that directory, also from inside a hook; it asks nobody anything and changes nothing.
package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/millrace-cd/millrace/pkg/event"
)

// What may be wrong with a directory. Each is what people are told.
var (
	ErrNoGit         = errors.New("git is not installed")
	ErrNotRepository = errors.New("not inside a git repository")
	ErrNoCommits     = errors.New("the repository has no commits yet")
	ErrNoFile        = errors.New("no such file in the commit")
)

// Head is the commit that is checked out.
type Head struct {
	Top    string       // root of the work tree, absolute
	Commit event.Commit // without App and Repository
	Origin string       // URL of the remote origin, without password; "" if there is none
	Pushed bool         // a branch of a remote has the commit, as far as git knows without asking
	Dirty  []string     // what is not committed, as git status says it; below the directory only

	git git
}

// Open reads the commit that is checked out in dir. Environ is the process's.
func Open(ctx context.Context, dir string, environ []string) (Head, error) {
	h := Head{git: git{dir: dir, environ: environ}}
	place, err := h.git.run(ctx, "rev-parse", "--show-toplevel", "--show-prefix")
	if err != nil {
		return Head{}, locate(dir, err)
	}
	top, prefix, _ := strings.Cut(place, "\n")
	h.Top = top
	h.Commit.Path = strings.TrimSuffix(strings.TrimSpace(prefix), "/")
	if _, err := h.git.run(ctx, "rev-parse", "--verify", "--quiet", "HEAD^{commit}"); err != nil {
		return Head{}, fmt.Errorf("%s: %w", top, ErrNoCommits)
	}
	if err := h.readCommit(ctx); err != nil {
		return Head{}, err
	}
	h.Commit.Ref, _ = h.git.run(ctx, "symbolic-ref", "--quiet", "HEAD") // fails where no branch is checked out
	if h.Commit.Ref == "" {
		if tag, err := h.git.run(ctx, "describe", "--tags", "--exact-match", "HEAD"); err == nil {
			h.Commit.Ref = "refs/tags/" + tag
		}
	}
	origin, _ := h.git.run(ctx, "remote", "get-url", "origin") // fails where there is none
	h.Origin = publicURL(origin, top)
	holders, _ := h.git.run(ctx, "for-each-ref", "--count=1", "--contains=HEAD", "--format=%(refname)", "refs/remotes")
	h.Pushed = holders != ""
	status, err := h.git.run(ctx, "status", "--porcelain=v1", "--untracked-files=all", "--", ".")
	if err != nil {
		return Head{}, err
	}
	h.Dirty = lines(status)
	return h, nil
}

// locate says why git does not find a repository.
func locate(dir string, err error) error {
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return ErrNoGit
	case strings.Contains(err.Error(), "not a git repository"), strings.Contains(err.Error(), "this operation must be run in a work tree"):
		abs, _ := filepath.Abs(dir) // for people
		return fmt.Errorf("%s: %w", abs, ErrNotRepository)
	}
	return err
}

func (h *Head) readCommit(ctx context.Context) error {
	out, err := h.git.run(ctx, "log", "-1", "--no-show-signature", "--format=%H%x00%an%x00%s%x00%cI")
	if err != nil {
		return err
	}
	f := strings.SplitN(out, "\x00", 4)
	if len(f) != 4 {
		return fmt.Errorf("git log said %q", out)
	}
	h.Commit.Hash, h.Commit.Author, h.Commit.Message = f[0], f[1], f[2]
	if h.Commit.Time, err = time.Parse(time.RFC3339, f[3]); err != nil {
		return fmt.Errorf("time of commit %s: %w", f[0], err)
	}
	h.Commit.Time = h.Commit.Time.UTC()
	return nil
}

// File reads a file of the commit, by its name in the directory that was opened.
func (h Head) File(ctx context.Context, name string) ([]byte, error) {
	object := h.Commit.Hash + ":./" + name
	if _, err := h.git.run(ctx, "cat-file", "-e", object); err != nil {
		return nil, fmt.Errorf("%s in %s: %w", filepath.Join(h.Commit.Path, name), h.Commit.Short(), ErrNoFile)
	}
	out, err := h.git.output(ctx, "cat-file", "blob", object)
	return out, err
}

// FileURL is how git fetches the repository on this machine.
func (h Head) FileURL() string { return (&url.URL{Scheme: "file", Path: h.Top}).String() }

// publicURL is what may stand in an event: no password, and no path that only means
// something here.
func publicURL(origin, top string) string {
	u, err := url.Parse(origin)
	switch {
	case origin == "":
		return ""
	case err == nil && u.Scheme != "" && u.Host != "":
		switch _, secret := u.User.Password(); {
		case u.Scheme == "https" || u.Scheme == "http": // the name itself may be a token
			u.User = nil
		case secret:
			u.User = url.User(u.User.Username())
		}
		return u.String()
	case err == nil && u.Scheme == "file":
		return origin
	case strings.Contains(origin, ":") && !strings.HasPrefix(origin, "/") && !strings.HasPrefix(origin, "."):
		return origin // host:path, as scp writes it
	case !filepath.IsAbs(origin):
		origin = filepath.Join(top, origin)
	}
	return (&url.URL{Scheme: "file", Path: filepath.Clean(origin)}).String()
}

// git runs commands in a directory.
type git struct {
	dir     string
	environ []string
	config  []string // more -c options
}

// run is output without the newline at its end.
func (g git) run(ctx context.Context, args ...string) (string, error) {
	out, err := g.output(ctx, args...)
	return strings.TrimRight(string(out), "\n"), err
}

func (g git) output(ctx context.Context, args ...string) ([]byte, error) {
	// A repository may name programs that git status runs: not here.
	all := slices.Concat([]string{"-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"}, g.config, args)
	cmd := exec.CommandContext(ctx, "git", all...)
	cmd.Dir = g.dir
	cmd.Env = closed(g.environ)
	cmd.WaitDelay = time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}

// closed is the environment without what git would take for its own.
func closed(environ []string) []string {
	env := []string{"LC_ALL=C", "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0"}
	for _, kv := range environ {
		for _, keep := range []string{"PATH=", "HOME=", "XDG_CONFIG_HOME=", "GIT_CONFIG_NOSYSTEM=", "GIT_CONFIG_GLOBAL=", "TMPDIR="} {
			if strings.HasPrefix(kv, keep) {
				env = append(env, kv)
			}
		}
	}
	return env
}

func lines(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == '\n' })
}
