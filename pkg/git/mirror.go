package git

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Names in a mirror that git does not know.
const (
	busy   = "millrace-busy"      // a file that is there while git writes
	tips   = "refs/millrace/tip/" // + key of a ref: where the ref was seen last
	olds   = "refs/millrace/old/" // + key of a ref / commit: where it was before it was moved by force
	single = "refs/millrace/one/" // + commit: what was fetched by its hash
)

// poll is how often a lock that another process holds is tried again.
const poll = 20 * time.Millisecond

// mirror is the bare repository of a URL, locked.
type mirror struct {
	dir  string
	lock *os.File
}

// path is where the mirror of a repository lies. A repository has hashes of one
// length, and so has its mirror.
func (g *Git) path(repository string, hashBytes int) string {
	return filepath.Join(g.cfg.Dir, fmt.Sprintf("%s-%d.git", key(repository), hashBytes*8))
}

// read locks a mirror for reading; writers wait.
func (g *Git) read(ctx context.Context, repository, commit string) (*mirror, error) {
	return g.open(ctx, repository, commit, syscall.LOCK_SH)
}

// write locks a mirror for one writer, makes it if need be and clears what a
// killed one left.
func (g *Git) write(ctx context.Context, repository, commit string) (*mirror, error) {
	m, err := g.open(ctx, repository, commit, syscall.LOCK_EX)
	if err != nil {
		return nil, err
	}
	if err := g.prepare(ctx, m, len(commit)/2); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

func (g *Git) open(ctx context.Context, repository, commit string, how int) (*mirror, error) {
	dir := g.path(repository, len(commit)/2)
	lock, err := os.OpenFile(dir+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock mirror: %w", err)
	}
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(lock.Fd()), how|syscall.LOCK_NB)
		if err == nil {
			return &mirror{dir: dir, lock: lock}, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock mirror: %w", err), lock.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("wait for mirror of %s: %w", Redact(repository), context.Cause(ctx)), lock.Close())
		case <-tick.C:
		}
	}
}

// Close unlocks the mirror.
func (m *mirror) Close() error { return m.lock.Close() }

// prepare makes a mirror whole before it is written. A git that outlived its
// parent has inherited the lock, so who holds it is alone: every lock file of
// git is a dead one's.
func (g *Git) prepare(ctx context.Context, m *mirror, hashBytes int) error {
	if _, err := os.Stat(filepath.Join(m.dir, busy)); err == nil {
		if err := recoverMirror(m.dir); err != nil {
			return fmt.Errorf("recover mirror: %w", err)
		}
	}
	if _, err := os.Stat(m.dir); err == nil {
		return nil
	}
	return g.create(ctx, m.dir, hashBytes)
}

func (g *Git) create(ctx context.Context, dir string, hashBytes int) error {
	fresh, err := os.MkdirTemp(g.cfg.Dir, "new-*")
	if err != nil {
		return fmt.Errorf("make mirror: %w", err)
	}
	format := "sha1"
	if hashBytes == sha256.Size {
		format = "sha256"
	}
	_, err = g.run(ctx, call{dir: fresh, args: []string{"init", "--quiet", "--bare", "--template=", "--object-format=" + format, "--initial-branch=none"}})
	if err == nil {
		err = os.Rename(fresh, dir)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("make mirror: %w", err), os.RemoveAll(fresh))
	}
	return nil
}

// recoverMirror removes what a killed git left: its lock files, which would stop
// every later one, and half-written packs.
func recoverMirror(dir string) error {
	err := filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := filepath.Base(name)
		if strings.HasSuffix(base, ".lock") || strings.HasPrefix(base, "tmp_") {
			return os.RemoveAll(name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return os.Remove(filepath.Join(dir, busy))
}

// marked runs f while the mirror is marked as being written.
func (m *mirror) marked(f func() error) error {
	name := filepath.Join(m.dir, busy)
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		return fmt.Errorf("mark mirror: %w", err)
	}
	err := f()
	if err != nil {
		return err // the mark stays: the next writer recovers
	}
	return os.Remove(name)
}

// discard gives up a mirror that is broken, say by a power cut. It is a cache.
func (m *mirror) discard() error {
	gone, err := os.MkdirTemp(filepath.Dir(m.dir), "old-*")
	if err != nil {
		return fmt.Errorf("discard mirror: %w", err)
	}
	if err := os.Rename(m.dir, filepath.Join(gone, "git")); err != nil {
		return fmt.Errorf("discard mirror: %w", err)
	}
	return os.RemoveAll(gone)
}

// key names something of any length and characters.
func key(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:16])
}
