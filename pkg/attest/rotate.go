package attest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// nextFile holds a new private key until it takes the place of the old one. No service
// reads it.
func nextFile(service string) string { return "." + KeyFile(service) + ".next" }

// Rotate makes a new key for a service, which signs from now on. The keys that it
// replaces stay trusted for keep, or less where that was said before; with a keep of 0
// they are trusted no more, whenever they signed. The private key that it replaces is
// gone.
//
// Wherever it is cut off, the key that is there to sign with is one that is trusted,
// except with a keep of 0; calling it again finishes the work. A new key that is trusted
// already is not made twice.
func Rotate(dir, service string, now time.Time, keep time.Duration) (Key, error) {
	key, err := rotate(dir, service, now, keep)
	if err != nil {
		return Key{}, fmt.Errorf("rotate the key of %s in %s: %w", quote(service), dir, err)
	}
	return key, nil
}

func rotate(dir, service string, now time.Time, keep time.Duration) (Key, error) {
	if keep < 0 {
		return Key{}, fmt.Errorf("%s is no time to keep the old key", keep)
	}
	unlock, err := lock(dir)
	if err != nil {
		return Key{}, err
	}
	defer unlock()
	ring, err := Load(dir)
	if err != nil {
		return Key{}, err
	}
	if !slices.ContainsFunc(ring, func(k Key) bool { return k.Service == service }) {
		return Key{}, fmt.Errorf("the service has no key in %s", TrustedFile)
	}
	key, err := next(dir, service, ring, now)
	if err != nil {
		return Key{}, err
	}
	if err := trust(dir, ring, key, now.UTC().Truncate(time.Second), keep); err != nil {
		return Key{}, err
	}
	return key, promote(dir, service)
}

// next makes the new key. If a rotation was cut off after all had been told to trust its
// key, it is that one.
func next(dir, service string, ring Ring, now time.Time) (Key, error) {
	name := filepath.Join(dir, nextFile(service))
	if key, ok := unfinished(name, service, ring); ok {
		return key, nil
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Key{}, err
	}
	key, private, err := generate(service, now)
	if err != nil {
		return Key{}, err
	}
	return key, create(name, private)
}

// unfinished is the trusted key whose private half lies ready. What cannot be read was
// cut off while it was written, so nobody trusts it yet.
func unfinished(name, service string, ring Ring) (Key, bool) {
	s, _, err := readSigner(name)
	if err != nil {
		return Key{}, false
	}
	i := slices.IndexFunc(ring, func(k Key) bool { return k.ID == s.id && k.Service == service })
	if i < 0 {
		return Key{}, false
	}
	return ring[i], true
}

// trust tells all to trust the key, and for how long those before it.
func trust(dir string, ring Ring, key Key, now time.Time, keep time.Duration) error {
	var changed Ring
	for _, k := range ring {
		if k.Service == key.Service && k.ID != key.ID && !k.late(now) {
			if keep == 0 {
				continue
			}
			if end := now.Add(keep); k.Until.IsZero() || end.Before(k.Until) {
				k.Until = end
			}
		}
		changed = append(changed, k)
	}
	if !slices.ContainsFunc(changed, func(k Key) bool { return k.ID == key.ID }) {
		changed = append(changed, key)
	}
	data, err := changed.marshal()
	if err != nil {
		return err
	}
	return replaceRing(dir, data)
}

// promote lets the service sign with the new key.
func promote(dir, service string) error {
	return rename(filepath.Join(dir, nextFile(service)), filepath.Join(dir, KeyFile(service)))
}
