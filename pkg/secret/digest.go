package secret

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

const (
	keyFile = "secret.key"
	keySize = 32
)

// Digest tells values apart without telling what they are: equal names and values have
// equal digests, in the stores of one data directory only. Without its key a digest
// does not even serve to try out guesses. It is "" where there are no values.
func (s *Store) Digest(v Values) string {
	if len(v) == 0 {
		return ""
	}
	mac := hmac.New(sha256.New, s.key)
	for _, name := range slices.Sorted(maps.Keys(v)) {
		for _, part := range []string{name, v[name]} {
			mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
			mac.Write([]byte(part))
		}
	}
	return hex.EncodeToString(mac.Sum(nil))
}

// openKey reads the key of dir, and makes one where there is none yet.
func openKey(dir string) ([]byte, error) {
	if dir == "" {
		return newKey(), nil
	}
	name := filepath.Join(dir, keyFile)
	key, err := readKey(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := makeKey(dir, name); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make key of secrets' digests: %w", err)
	}
	return readKey(name)
}

func readKey(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read key of secrets' digests: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read key of secrets' digests: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("key %s is open to others: chmod 600 it", name)
	}
	key, err := io.ReadAll(io.LimitReader(f, keySize+1))
	if err != nil {
		return nil, fmt.Errorf("read key of secrets' digests: %w", err)
	}
	if len(key) != keySize {
		return nil, fmt.Errorf("key %s has not %d bytes: remove it, and a new one will be made", name, keySize)
	}
	return key, nil
}

// makeKey never leaves half a key behind, and of several services that begin at the
// same time only one makes it.
func makeKey(dir, name string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, keyFile+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(newKey())
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Link(f.Name(), name)
}

func newKey() []byte {
	key := make([]byte, keySize)
	_, _ = rand.Read(key) // never fails
	return key
}
