package attest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Export brings what each service gets to a directory of its own below to, which has the
// service's name: the ring, and its key if there is one for it. All get the ring before
// any gets a key, so that nobody signs with a key that others do not trust yet. Files that
// are there are replaced, each at once.
func Export(dir, to string, services ...string) error {
	if err := export(dir, to, services); err != nil {
		return fmt.Errorf("export keys to %s: %w", to, err)
	}
	return nil
}

func export(dir, to string, services []string) error {
	if _, err := Load(dir); err != nil {
		return err
	}
	for _, s := range services {
		if !validService.MatchString(s) {
			return fmt.Errorf("%s is not the name of a service", quote(s))
		}
		if err := os.MkdirAll(filepath.Join(to, s), 0o700); err != nil {
			return err
		}
		if err := bring(filepath.Join(dir, TrustedFile), filepath.Join(to, s, TrustedFile), maxRing, ringMode); err != nil {
			return err
		}
	}
	for _, s := range services {
		err := bring(filepath.Join(dir, KeyFile(s)), filepath.Join(to, s, KeyFile(s)), maxKeyPEM, keyMode)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // there is none for one that only verifies
			return err
		}
	}
	return nil
}

// bring copies a file in the place of another one, at once.
func bring(from, to string, limit int64, mode fs.FileMode) error {
	data, _, err := read(from, limit)
	if err != nil {
		return err
	}
	return replace(to, data, mode)
}

// replace puts a new file in the place of an old one, at once.
func replace(name string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = io.Copy(f, bytes.NewReader(data))
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return rename(f.Name(), name)
}
