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

// Export brings to the directory to what one service gets: the ring, and its key if there
// is one for it. The ring comes first, so that nobody signs with a key that is not
// trusted yet. Files that are there are replaced, each at once.
func Export(dir, service, to string) error {
	if err := export(dir, service, to); err != nil {
		return fmt.Errorf("export the keys of %s to %s: %w", service, to, err)
	}
	return nil
}

func export(dir, service, to string) error {
	if !validService.MatchString(service) {
		return fmt.Errorf("%s is not the name of a service", quote(service))
	}
	if _, err := Load(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	if err := bring(filepath.Join(dir, TrustedFile), filepath.Join(to, TrustedFile), maxRing, ringMode); err != nil {
		return err
	}
	err := bring(filepath.Join(dir, KeyFile(service)), filepath.Join(to, KeyFile(service)), maxKeyPEM, keyMode)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // one that only verifies
	}
	return err
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
