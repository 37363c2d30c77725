package workspace

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// errLocked says that another process, or another part of this one, has it.
var errLocked = errors.New("in use")

// lockDir locks a directory without waiting, until the file is closed or the
// process ends.
func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := flock(f, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func flock(f *os.File, how int) error {
	for {
		switch err := unix.Flock(int(f.Fd()), how); {
		case err == nil:
			return nil
		case errors.Is(err, unix.EWOULDBLOCK):
			return fmt.Errorf("lock %s: %w", f.Name(), errLocked)
		case !errors.Is(err, unix.EINTR):
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
	}
}

// locked runs f while no other process does so for the same directory. What runs
// is short: to look at names and to rename.
func (c *Cache) locked(f func() error) error {
	dir, err := os.Open(c.dir)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	if err := flock(dir, unix.LOCK_EX); err != nil {
		return err
	}
	return f()
}
