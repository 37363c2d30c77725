package workspace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/millrace-cd/millrace/pkg/archive"
)

var digest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// Tree is an unpacked tar. It is never written to.
type Tree struct {
	cache *Cache
	dir   string // of its files
	key   string
}

// Tree gives the tree of a tar by its digest. fetch is called when the tree is
// not there yet, and has to check that what it gives has that digest. shared is
// for steps that do not run as root: any user may write to its views.
//
// An error that wraps [archive.ErrRefused] is the tar's fault.
func (c *Cache) Tree(ctx context.Context, tar string, shared bool, fetch func(context.Context) (io.ReadCloser, error)) (*Tree, error) {
	if !digest.MatchString(tar) {
		return nil, fmt.Errorf("tree %.80q: not a sha256 digest", tar)
	}
	key := strings.TrimPrefix(tar, "sha256:")
	access := archive.Owner
	if shared {
		key, access = key+"-shared", archive.Anyone
	}
	for {
		tree, err := c.use(key)
		if tree != nil || err != nil {
			return tree, err
		}
		result := c.flight.DoChan(key, func() (any, error) { return nil, c.unpack(ctx, key, access, fetch) })
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("unpack tree %s: %w", tar, context.Cause(ctx))
		case r := <-result:
			// Who did it for all of us may have been told to stop; we were not.
			others := errors.Is(r.Err, context.Canceled) && ctx.Err() == nil
			if r.Err != nil && !others {
				return nil, fmt.Errorf("unpack tree %s: %w", tar, r.Err)
			}
		}
	}
}

// use gives the tree if it is there, and notes that it is in use: while its
// marker is young, [Cache.Sweep] lets it be.
func (c *Cache) use(key string) (*Tree, error) {
	dir := filepath.Join(c.dir, trees, key)
	var tree *Tree
	var stale string
	err := c.locked(func() error {
		boot, _, err := readMarker(dir)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err == nil && boot != c.boot {
			stale, err = c.bury(dir)
			return err
		}
		tree = &Tree{cache: c, dir: filepath.Join(dir, content), key: key}
		now := time.Now()
		return errors.Join(err, os.Chtimes(filepath.Join(dir, marker), now, now))
	})
	if stale != "" {
		err = os.RemoveAll(stale)
	}
	if err != nil {
		return nil, fmt.Errorf("use tree %s: %w", key, err)
	}
	return tree, nil
}

// unpack makes the tree in a directory of its own and renames it when it is
// whole. Of two processes that do so at once the second one's is thrown away.
func (c *Cache) unpack(ctx context.Context, key string, access archive.Access, fetch func(context.Context) (io.ReadCloser, error)) error {
	dir, lock, err := c.temporary(trees)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	err = c.fill(ctx, dir, access, fetch)
	if err == nil {
		err = os.Rename(dir, filepath.Join(c.dir, trees, key))
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, os.ErrExist) { // also what ENOTEMPTY is
		err = nil
	}
	return errors.Join(err, os.RemoveAll(dir))
}

func (c *Cache) fill(ctx context.Context, dir string, access archive.Access, fetch func(context.Context) (io.ReadCloser, error)) error {
	files := filepath.Join(dir, content)
	if err := errors.Join(os.Mkdir(files, 0o700), os.Chmod(files, mode(access)), os.Chmod(dir, 0o711)); err != nil { //nolint:gosec // the engine's users have to get in
		return err
	}
	root, err := os.OpenRoot(files)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	tar, err := fetch(ctx)
	if err != nil {
		return err
	}
	stats, err := archive.Extract(tar, root, archive.Source(), access)
	if err := errors.Join(err, tar.Close()); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, marker), fmt.Appendf(nil, "%d %s", stats.Bytes, c.boot), 0o600)
}

// readMarker tells in which boot of the machine a tree was made, and its size.
func readMarker(dir string) (boot string, bytes int64, err error) {
	data, err := os.ReadFile(filepath.Join(dir, marker))
	if err != nil {
		return "", 0, err
	}
	_, _ = fmt.Sscanf(string(data), "%d %s", &bytes, &boot) // cut off by a power cut: of no boot
	return boot, bytes, nil
}

// ReadFile reads a regular file of the tree, of at most limit bytes. It follows
// links that stay inside. An error that wraps [os.ErrNotExist] says that there is
// none, one that wraps [archive.ErrRefused] that it is too large or no file.
func (t *Tree) ReadFile(name string, limit int64) ([]byte, error) {
	root, err := os.OpenRoot(t.dir)
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", name, err)
	}
	defer func() { _ = root.Close() }()
	f, err := root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", name, err)
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("read %q: %w: not a regular file", name, archive.ErrRefused), err)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %q: %w", name, err)
	case int64(len(data)) > limit:
		return nil, fmt.Errorf("read %q: %w: more than %d bytes", name, archive.ErrRefused, limit)
	}
	return data, nil
}

func mode(access archive.Access) os.FileMode {
	if access == archive.Anyone {
		return 0o777
	}
	return 0o755
}
