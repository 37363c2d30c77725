package git

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Commit is what a repository says of a commit. Author and Message are cut to
// 200 bytes and hold no control characters.
type Commit struct {
	Hash    string
	Tree    string // hash of its tree
	Author  string // Name <address>
	Message string // first line
	Time    time.Time
}

// Fetch brings a commit into the mirror and tells about it.
//
// With a ref, the commit has to be reachable from it: from where the ref stands
// now, or stood when this mirror saw it before. So a commit of somebody's fork
// that the server hands out by its hash does not pass for one of the branch, and
// a second try of a commit whose branch was moved by force since still succeeds.
// The network is not used where the mirror knows that already. Without a ref any
// commit is taken that the server gives.
func (g *Git) Fetch(ctx context.Context, repository, commit, ref string) (Commit, error) {
	if err := g.check(repository, commit, ref); err != nil {
		return Commit{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, g.cfg.Timeout, fmt.Errorf("took longer than %s: %w", g.cfg.Timeout, context.DeadlineExceeded))
	defer cancel()
	if c, ok := g.known(ctx, repository, commit, ref); ok {
		return c, nil
	}
	c, err := g.fetch(ctx, repository, commit, ref)
	if broken(err) { // a mirror is a cache: begin anew, once
		if err = g.discard(ctx, repository, commit); err == nil {
			c, err = g.fetch(ctx, repository, commit, ref)
		}
	}
	if err != nil {
		return Commit{}, fmt.Errorf("fetch %s of %s: %w", commit, Redact(repository), blame(err))
	}
	return c, nil
}

func (g *Git) check(repository, commit, ref string) error {
	if err := CheckURL(repository, g.cfg.Protocols); err != nil {
		return err
	}
	if ref != "" {
		if err := CheckRef(ref); err != nil {
			return err
		}
	}
	return CheckHash(commit)
}

// known is the commit if the mirror has it already, on the ref.
func (g *Git) known(ctx context.Context, repository, commit, ref string) (Commit, bool) {
	m, err := g.read(ctx, repository, commit)
	if err != nil {
		return Commit{}, false
	}
	defer func() { _ = m.Close() }()
	if on, err := g.reachable(ctx, m, commit, ref); err != nil || !on {
		return Commit{}, false
	}
	c, err := g.describe(ctx, m, commit)
	return c, err == nil
}

func (g *Git) fetch(ctx context.Context, repository, commit, ref string) (Commit, error) {
	m, err := g.write(ctx, repository, commit)
	if err != nil {
		return Commit{}, err
	}
	defer func() { _ = m.Close() }()
	// Somebody else may have fetched it while we waited.
	if on, err := g.reachable(ctx, m, commit, ref); err != nil || !on {
		err := m.marked(func() error {
			if ref == "" {
				return g.fetchHash(ctx, m, repository, commit)
			}
			return g.fetchRef(ctx, m, repository, ref)
		})
		if err != nil {
			return Commit{}, err
		}
	}
	on, err := g.reachable(ctx, m, commit, ref)
	switch {
	case err != nil:
		return Commit{}, err
	case !on && ref == "":
		return Commit{}, fmt.Errorf("%w: no such commit on any branch or tag", ErrNotFound)
	case !on:
		return Commit{}, fmt.Errorf("%w: the commit is not on %s", ErrNotFound, ref)
	}
	return g.describe(ctx, m, commit)
}

// fetchRef brings the ref up to date. A tip that it no longer contains is kept.
func (g *Git) fetchRef(ctx context.Context, m *mirror, repository, ref string) error {
	tip := tips + key(ref)
	was, _ := g.run(ctx, call{dir: m.dir, args: []string{"rev-parse", "--verify", "--quiet", tip}})
	if err := g.download(ctx, m, repository, nil, "+"+ref+":"+tip); err != nil {
		return err
	}
	if was = strings.TrimSpace(was); was == "" {
		return nil
	}
	if on, err := g.ancestor(ctx, m, was, tip); err != nil || on {
		return err
	}
	_, err := g.run(ctx, call{dir: m.dir, args: []string{"update-ref", olds + key(ref) + "/" + was, was}})
	return err
}

// fetchHash asks for the commit itself. Servers may refuse that; then everything
// is fetched that has a name.
func (g *Git) fetchHash(ctx context.Context, m *mirror, repository, commit string) error {
	err := g.download(ctx, m, repository, nil, "+"+commit+":"+single+commit)
	if f, ok := errors.AsType[*failure](err); ok && strings.Contains(f.stderr, "unadvertised object") {
		return g.download(ctx, m, repository, []string{"--prune"}, "+refs/heads/*:refs/millrace/heads/*", "+refs/tags/*:refs/millrace/tags/*")
	}
	return err
}

func (g *Git) download(ctx context.Context, m *mirror, repository string, options []string, refspecs ...string) error {
	args := []string{"fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance"}
	args = slices.Concat(args, options, []string{"--end-of-options", repository}, refspecs)
	_, err := g.run(ctx, call{dir: m.dir, args: args, lock: m.lock})
	return err
}

// reachable tells whether the mirror has the commit and, given a ref, knows it
// to be or have been on that.
func (g *Git) reachable(ctx context.Context, m *mirror, commit, ref string) (bool, error) {
	if ref == "" {
		_, err := g.run(ctx, call{dir: m.dir, args: []string{"cat-file", "-e", commit + "^{commit}"}})
		return yes(err)
	}
	if on, err := g.ancestor(ctx, m, commit, tips+key(ref)); on || err != nil {
		return on, err
	}
	old, err := g.run(ctx, call{dir: m.dir, args: []string{"for-each-ref", "--format=%(refname)", olds + key(ref)}})
	if err != nil {
		return false, err
	}
	for tip := range strings.FieldsSeq(old) {
		if on, err := g.ancestor(ctx, m, commit, tip); on || err != nil {
			return on, err
		}
	}
	return false, nil
}

func (g *Git) ancestor(ctx context.Context, m *mirror, commit, tip string) (bool, error) {
	_, err := g.run(ctx, call{dir: m.dir, args: []string{"merge-base", "--is-ancestor", commit, tip}})
	return yes(err)
}

// yes reads an answer that git gives by its exit code: 1 is no, 128 is that
// there is no such object or ref yet.
func yes(err error) (bool, error) {
	if f, ok := errors.AsType[*failure](err); ok && !broken(err) && (f.code == 1 || f.code == 128) {
		return false, nil
	}
	return err == nil, err
}

func (g *Git) describe(ctx context.Context, m *mirror, commit string) (Commit, error) {
	out, err := g.run(ctx, call{dir: m.dir, args: []string{"log", "-1", "--no-color", "--format=%H%x00%T%x00%an <%ae>%x00%s%x00%cI", "--end-of-options", commit}})
	if err != nil {
		return Commit{}, err
	}
	part := strings.Split(strings.TrimSuffix(out, "\n"), "\x00")
	if len(part) != 5 {
		return Commit{}, fmt.Errorf("%w: the commit's header is not one that git writes", ErrRefused)
	}
	if part[0] != commit { // it names a tag
		return Commit{}, fmt.Errorf("%w: it names no commit, but a tag of %s", ErrNotFound, part[0])
	}
	at, err := time.Parse(time.RFC3339, part[4])
	if err != nil {
		at = time.Time{} // git prints what it was told, and the time is only told on
	}
	return Commit{Hash: commit, Tree: part[1], Author: plain(part[2]), Message: plain(part[3]), Time: at.UTC()}, nil
}

// plain is text that can stand in an event, a log and a terminal.
func plain(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	return strings.ToValidUTF8(text[:min(len(text), 200)], "")
}

func (g *Git) discard(ctx context.Context, repository, commit string) error {
	m, err := g.write(ctx, repository, commit)
	if err != nil {
		return err
	}
	return errors.Join(m.discard(), m.Close())
}
