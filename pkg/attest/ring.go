package attest

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"
)

const (
	// Early is how long before its time a key is trusted already, since clocks differ.
	// Nobody had the key then.
	Early = 5 * time.Minute

	maxRing = 1 << 20 // bytes
	maxKeys = 1000
	shortID = 12 // digits of a key's id that people get to see
)

var validService = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// Key is a public key and what it is trusted for.
type Key struct {
	ID      string    `json:"id"` // hex of the SHA-256 of the public key
	Service string    `json:"service"`
	PEM     string    `json:"publicKey"`
	From    time.Time `json:"from,omitzero"`  // zero: since ever
	Until   time.Time `json:"until,omitzero"` // the first moment without trust; zero: no end
}

// Short is the beginning of the id, for people.
func (k Key) Short() string { return k.ID[:min(len(k.ID), shortID)] }

// ValidAt tells whether the key is trusted at that time, give or take [Early].
func (k Key) ValidAt(at time.Time) bool { return !k.early(at) && !k.late(at) }

func (k Key) early(at time.Time) bool { return !k.From.IsZero() && at.Before(k.From.Add(-Early)) }
func (k Key) late(at time.Time) bool  { return !k.Until.IsZero() && !at.Before(k.Until) }

// Ring are the keys that are trusted.
type Ring []Key

// ringFile is a ring as JSON. It is an object, so that it can gain fields.
type ringFile struct {
	Keys Ring `json:"keys"`
}

// ParseRing reads a ring as trusted.json has it.
func ParseRing(data []byte) (Ring, error) {
	var f ringFile
	if len(data) > maxRing {
		return nil, fmt.Errorf("trusted keys: more than %d bytes", maxRing)
	}
	if err := strict(data, &f); err != nil {
		return nil, fmt.Errorf("trusted keys: %w", err)
	}
	if err := f.Keys.check(); err != nil {
		return nil, fmt.Errorf("trusted keys: %w", err)
	}
	return f.Keys, nil
}

func (r Ring) marshal() ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("trusted keys: %w", err)
	}
	data, err := json.MarshalIndent(ringFile{r}, "", "  ")
	return append(data, '\n'), err
}

func (r Ring) check() error {
	if len(r) == 0 || len(r) > maxKeys {
		return fmt.Errorf("there are %d, not 1 to %d", len(r), maxKeys)
	}
	for i, k := range r {
		if err := k.check(); err != nil {
			return fmt.Errorf("key %d, %s: %w", i+1, quote(k.Short()), err)
		}
		if slices.ContainsFunc(r[:i], func(other Key) bool { return other.ID == k.ID }) {
			return fmt.Errorf("key %s is there twice: leave one", k.Short())
		}
	}
	return nil
}

func (k Key) check() error {
	if !validService.MatchString(k.Service) {
		return fmt.Errorf("%s is not the name of a service", quote(k.Service))
	}
	if !k.From.IsZero() && !k.Until.IsZero() && k.Until.Before(k.From) {
		return errors.New("its time ends before it begins")
	}
	_, err := k.public()
	return err
}

func (k Key) public() (*ecdsa.PublicKey, error) {
	key, id, err := parsePublic(k.PEM)
	if err != nil {
		return nil, err
	}
	if id != k.ID {
		return nil, fmt.Errorf("the public key has the id %s", id)
	}
	return key, nil
}

// Verify gives the statement of a bundle and the key that signed it, if that key is
// trusted for the service at that time. Errors wrap [ErrBundle], [ErrKey] or
// [ErrSignature]; trying again cannot help against them, other keys may.
func (r Ring) Verify(bundle []byte, service string, at time.Time) (Statement, Key, error) {
	s, err := unseal(bundle)
	if err != nil {
		return Statement{}, Key{}, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	key, err := r.signedBy(s)
	if err != nil {
		return Statement{}, Key{}, err
	}
	if err := key.allow(service, at); err != nil {
		return Statement{}, Key{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	st, err := parseStatement(s.payload)
	if err != nil {
		return Statement{}, Key{}, fmt.Errorf("%w: signed by key %s: %w", ErrBundle, key.Short(), err)
	}
	return st, key, nil
}

// signedBy finds the key that signed it.
func (r Ring) signedBy(s sealed) (Key, error) {
	i := slices.IndexFunc(r, func(k Key) bool { return k.ID == s.hint })
	if i < 0 {
		return Key{}, fmt.Errorf("%w: nobody knows key %s", ErrKey, quote(s.hint))
	}
	public, err := r[i].public()
	if err != nil {
		return Key{}, fmt.Errorf("%w: key %s: %w", ErrKey, r[i].Short(), err)
	}
	digest := sha256.Sum256(pae(payloadType, s.payload))
	if !ecdsa.VerifyASN1(public, digest[:], s.signature) {
		return Key{}, fmt.Errorf("%w: key %s of %s did not sign this", ErrSignature, r[i].Short(), r[i].Service)
	}
	return r[i], nil
}

func (k Key) allow(service string, at time.Time) error {
	switch {
	case k.Service != service:
		return fmt.Errorf("key %s is of %s, not of %s", k.Short(), k.Service, service)
	case k.early(at):
		return fmt.Errorf("key %s of %s is trusted from %s on, not at %s", k.Short(), k.Service, stamp(k.From), stamp(at))
	case k.late(at):
		return fmt.Errorf("key %s of %s was trusted until %s, not at %s", k.Short(), k.Service, stamp(k.Until), stamp(at))
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// parseStatement leaves out what it does not know: statements may gain fields.
func parseStatement(payload []byte) (Statement, error) {
	var s Statement
	if err := json.Unmarshal(payload, &s); err != nil {
		return Statement{}, err
	}
	return s, s.check()
}
