// Package attest signs what a service found out about things that have a digest, and
// tells whether such a statement can be believed.
//
// A statement is one of in-toto, signed as DSSE says, inside of a Sigstore bundle: other
// tools verify it with the public key alone. The same statement and key give the same
// bytes. What [Ring.Verify] returns is what a trusted key signed, for a service that it
// is trusted for, and at a time at which it was; nothing of a bundle is taken as true
// before its signature is. Whether the statement is about the thing at hand is the
// caller's to ask: [Statement.Covers].
//
// Keys are ECDSA P-256 and lie in a directory: one private key for each service that
// signs, and one file that says which public keys are trusted. There is no time stamp by
// others, so the one who has a private key can sign what it wants for as long as the key
// is trusted.
package attest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	// StatementType is the type of all statements.
	StatementType = "https://in-toto.io/Statement/v1"
	// MaxBundle is the size of the largest bundle, in bytes.
	MaxBundle = 1 << 20

	maxSubjects = 1024 // of a statement; other verifiers have the same limit
	maxDigests  = 32   // of a subject
)

var (
	// ErrBundle says that it is no bundle with one signed statement.
	ErrBundle = errors.New("malformed attestation")
	// ErrSignature says that the key did not sign this.
	ErrSignature = errors.New("wrong signature")
	// ErrKey says that the key is not trusted for this.
	ErrKey = errors.New("key is not trusted")
)

// Resource is a thing that a statement is about or that it mentions.
type Resource struct {
	Name        string            `json:"name,omitempty"`
	URI         string            `json:"uri,omitempty"`
	Digest      map[string]string `json:"digest,omitempty"` // by algorithm, such as sha256 or gitCommit; lower case hex
	MediaType   string            `json:"mediaType,omitempty"`
	Annotations map[string]any    `json:"annotations,omitempty"`
}

// Statement says something about its subjects. What that is depends on the type of the
// predicate.
type Statement struct {
	Type          string          `json:"_type"`
	Subject       []Resource      `json:"subject"`
	PredicateType string          `json:"predicateType"` // a URI
	Predicate     json.RawMessage `json:"predicate"`     // a JSON object
}

// New makes a statement. The predicate becomes JSON, and has to be an object; each
// subject needs a digest.
func New(predicateType string, predicate any, subject ...Resource) (Statement, error) {
	data, err := json.Marshal(predicate)
	if err != nil {
		return Statement{}, fmt.Errorf("predicate %s: %w", predicateType, err)
	}
	s := Statement{Type: StatementType, Subject: subject, PredicateType: predicateType, Predicate: data}
	if err := s.check(); err != nil {
		return Statement{}, fmt.Errorf("make a statement: %w", err)
	}
	return s, nil
}

// Digest is the digest of a [Resource] for one that is written sha256:<hex>.
func Digest(digest string) map[string]string {
	algorithm, value, _ := strings.Cut(digest, ":")
	return map[string]string{algorithm: value}
}

// Covers tells whether the statement is about the thing with this digest, written
// sha256:<hex>.
func (s Statement) Covers(digest string) bool {
	algorithm, value, ok := strings.Cut(digest, ":")
	return ok && value != "" && slices.ContainsFunc(s.Subject, func(r Resource) bool { return r.Digest[algorithm] == value })
}

func (s Statement) check() error {
	switch {
	case s.Type != StatementType:
		return fmt.Errorf("statement is of type %s, not %s", quote(s.Type), StatementType)
	case s.PredicateType == "":
		return errors.New("statement has no predicate type")
	case !bytes.HasPrefix(bytes.TrimSpace(s.Predicate), []byte("{")):
		return fmt.Errorf("predicate %s is not a JSON object", quote(s.PredicateType))
	case len(s.Subject) == 0 || len(s.Subject) > maxSubjects:
		return fmt.Errorf("statement has %d subjects, not 1 to %d", len(s.Subject), maxSubjects)
	}
	for i, r := range s.Subject {
		if err := r.check(); err != nil {
			return fmt.Errorf("subject %d, %s: %w", i+1, quote(r.Name), err)
		}
	}
	return nil
}

func (r Resource) check() error {
	if len(r.Digest) == 0 || len(r.Digest) > maxDigests {
		return fmt.Errorf("has %d digests, not 1 to %d", len(r.Digest), maxDigests)
	}
	for algorithm, value := range r.Digest {
		if algorithm == "" || value == "" {
			return fmt.Errorf("digest %s is %s", quote(algorithm), quote(value))
		}
	}
	return nil
}

// quote shows text that nobody vouches for.
func quote(text string) string { return fmt.Sprintf("%.80q", text) }
