package attest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// TrustedFile is the file of a directory of keys that all services get.
	TrustedFile = "trusted.json"

	keyMode   = 0o600
	ringMode  = 0o644
	maxKeyPEM = 16 << 10 // bytes
)

// KeyFile is the file of a directory of keys that only this service gets.
func KeyFile(service string) string { return service + ".key" }

// Init makes a key for each service in a directory, which it makes too where there is
// none. If any of the files is there already, it fails and changes nothing.
func Init(dir string, now time.Time, services ...string) ([]Key, error) {
	keys, err := initialize(dir, now, services)
	if err != nil {
		return nil, fmt.Errorf("make keys in %s: %w", dir, err)
	}
	return keys, nil
}

func initialize(dir string, now time.Time, services []string) (keys []Key, err error) {
	var privates [][]byte
	for _, service := range services {
		key, private, err := generate(service, now)
		if err != nil {
			return nil, err
		}
		keys, privates = append(keys, key), append(privates, private)
	}
	ring, err := Ring(keys).marshal()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	unlock, err := lock(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := unused(dir, services); err != nil {
		return nil, err
	}
	return keys, createAll(dir, services, privates, ring)
}

// unused makes sure that none of the files is there.
func unused(dir string, services []string) error {
	names := []string{TrustedFile}
	for _, s := range services {
		names = append(names, KeyFile(s))
	}
	for _, name := range names {
		switch _, err := os.Lstat(filepath.Join(dir, name)); {
		case err == nil:
			return fmt.Errorf("%s is there already: choose another directory: %w", name, fs.ErrExist)
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return nil
}

// createAll writes the keys, and the ring last. Where it fails it leaves nothing.
func createAll(dir string, services []string, privates [][]byte, ring []byte) (err error) {
	var made []string
	defer func() {
		for _, name := range made {
			if err != nil {
				_ = os.Remove(name)
			}
		}
	}()
	for i, s := range services {
		name := filepath.Join(dir, KeyFile(s))
		if err := create(name, privates[i]); err != nil {
			return err
		}
		made = append(made, name)
	}
	return replaceRing(dir, ring)
}

// generate makes a key pair. The private key is PEM.
func generate(service string, now time.Time) (Key, []byte, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Key{}, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return Key{}, nil, err
	}
	key, err := publicOf(private, service)
	key.From = now.UTC().Truncate(time.Second)
	return key, pem.EncodeToMemory(&pem.Block{Type: privateBlock, Bytes: der}), err
}

func publicOf(private *ecdsa.PrivateKey, service string) (Key, error) {
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		return Key{}, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: publicBlock, Bytes: der})
	return Key{ID: keyID(der), Service: service, PEM: string(text)}, nil
}

// Load reads which keys a directory says are trusted.
func Load(dir string) (Ring, error) {
	ring, _, err := readRing(filepath.Join(dir, TrustedFile))
	return ring, err
}

func readRing(name string) (Ring, fs.FileInfo, error) {
	data, info, err := read(name, maxRing)
	if err != nil {
		return nil, nil, fmt.Errorf("trusted keys: %w", missing(err))
	}
	ring, err := ParseRing(data)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	return ring, info, nil
}

func readSigner(name string) (*Signer, fs.FileInfo, error) {
	private, info, err := readPrivate(name)
	if err != nil {
		return nil, nil, err
	}
	s, err := newSigner(private)
	return s, info, err
}

// readPrivate refuses a private key that others may read.
func readPrivate(name string) (*ecdsa.PrivateKey, fs.FileInfo, error) {
	data, info, err := read(name, maxKeyPEM)
	if err != nil {
		return nil, nil, fmt.Errorf("private key: %w", missing(err))
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, nil, fmt.Errorf("private key %s is open to others (mode %04o): chmod 600 %s", name, mode, name)
	}
	key, err := parsePrivate(data)
	if err != nil {
		return nil, nil, fmt.Errorf("private key %s: %w", name, err)
	}
	return key, info, nil
}

func missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: millrace keys init makes it", err)
	}
	return err
}

// Entry is a key of a directory.
type Entry struct {
	Key
	Private bool // its private key is there
	Trusted bool // it is in the ring, whatever its time says
}

// List gives the keys of a directory: those that are trusted, in their order, then those
// that lie there and are not.
func List(dir string) ([]Entry, error) {
	ring, err := Load(dir)
	if err != nil {
		return nil, err
	}
	held, err := privates(dir)
	if err != nil {
		return nil, err
	}
	var all []Entry
	for _, k := range ring {
		i := slices.IndexFunc(held, func(h Key) bool { return h.ID == k.ID && h.Service == k.Service })
		all = append(all, Entry{k, i >= 0, true})
		if i >= 0 {
			held = slices.Delete(held, i, i+1)
		}
	}
	for _, k := range held {
		all = append(all, Entry{k, true, false})
	}
	return all, nil
}

// privates are the public halves of the private keys of a directory.
func privates(dir string) (keys []Key, err error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		service, ok := strings.CutSuffix(f.Name(), KeyFile(""))
		if !ok || !validService.MatchString(service) {
			continue
		}
		private, _, err := readPrivate(filepath.Join(dir, f.Name()))
		if err != nil {
			return nil, err
		}
		key, err := publicOf(private, service)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}
