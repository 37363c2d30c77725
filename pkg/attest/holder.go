package attest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// Config says where a service has its keys.
type Config struct {
	Dir     string // directory of keys; "" where both are given as text
	Service string // whose key signs; "" for one that only verifies

	Key     string // private key as PEM, in place of the file
	Trusted string // ring as JSON, in place of the file
}

// Holder holds the keys of a running service. It looks at their files each time, so a
// key that is rotated counts from the next statement on. Safe for concurrent use.
type Holder struct {
	service string

	mu     sync.Mutex
	signer cached[*Signer]
	ring   cached[Ring]
}

// Open reads the keys. It fails where any is missing, is open to others, or where the
// service's own is not trusted.
func Open(c Config) (*Holder, error) {
	h, err := c.holder()
	if err != nil {
		return nil, err
	}
	if _, err := h.Ring(); err != nil {
		return nil, err
	}
	if c.Service == "" {
		return h, nil
	}
	_, err = h.Signer()
	return h, err
}

func (c Config) holder() (h *Holder, err error) {
	h = &Holder{service: c.Service}
	if c.Dir == "" && (c.Trusted == "" || c.Service != "" && c.Key == "") {
		return nil, errors.New("there is no directory of keys: millrace keys init makes one")
	}
	h.signer = cached[*Signer]{name: filepath.Join(c.Dir, KeyFile(c.Service)), read: readSigner}
	if c.Key != "" {
		h.signer = cached[*Signer]{}
		if h.signer.value, err = ParseSigner([]byte(c.Key)); err != nil {
			return nil, err
		}
	}
	h.ring = cached[Ring]{name: filepath.Join(c.Dir, TrustedFile), read: readRing}
	if c.Trusted != "" {
		h.ring = cached[Ring]{}
		if h.ring.value, err = ParseRing([]byte(c.Trusted)); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// Signer signs for the service. It fails where nobody would trust the signature, as
// while the new key has come to this host and the new ring has not.
func (h *Holder) Signer() (*Signer, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.service == "" {
		return nil, errors.New("this service does not sign")
	}
	s, err := h.signer.get()
	if err != nil {
		return nil, err
	}
	ring, err := h.ring.get()
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(ring, func(k Key) bool { return k.ID == s.id && k.Service == h.service }) {
		return nil, fmt.Errorf("%w: key %s of %s is not in %s: get the file that millrace keys wrote beside the key", ErrKey, s.id[:shortID], h.service, TrustedFile)
	}
	return s, nil
}

// Ring is what the service trusts. It belongs to all callers: do not change it.
func (h *Holder) Ring() (Ring, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ring.get()
}

// cached is what a file has, read anew when the file is another one. Without a name it
// is a value that stays.
type cached[T any] struct {
	name  string
	read  func(name string) (T, fs.FileInfo, error)
	info  fs.FileInfo // of the file when it was read; nil before
	value T
}

func (c *cached[T]) get() (T, error) {
	if c.name == "" {
		return c.value, nil
	}
	if now, err := os.Stat(c.name); err == nil && same(now, c.info) {
		return c.value, nil
	}
	c.info = nil
	value, info, err := c.read(c.name)
	if err != nil {
		return value, err
	}
	c.value, c.info = value, info
	return value, nil
}

// same is false where b is nil.
func same(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && a.Mode() == b.Mode()
}
