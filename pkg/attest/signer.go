package attest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
)

const (
	privateBlock = "PRIVATE KEY" // PKCS #8
	publicBlock  = "PUBLIC KEY"  // SubjectPublicKeyInfo
)

// Signer signs with one private key. Safe for concurrent use. Printing it does not show
// the key.
type Signer struct {
	id   string
	sign func(digest []byte) ([]byte, error)
}

// ParseSigner reads a private key: one PEM block of PKCS #8 with an ECDSA key on P-256,
// not encrypted.
func ParseSigner(text []byte) (*Signer, error) {
	key, err := parsePrivate(text)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	return newSigner(key)
}

func newSigner(key *ecdsa.PrivateKey) (*Signer, error) {
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	// Without a source of randomness the signature follows from key and digest (RFC 6979).
	sign := func(digest []byte) ([]byte, error) { return key.Sign(nil, digest, crypto.SHA256) }
	return &Signer{id: keyID(der), sign: sign}, nil
}

// Key is the id of the key: the SHA-256 of the public key (DER of SubjectPublicKeyInfo)
// in hex.
func (s *Signer) Key() string { return s.id }

// Sign makes the bundle of a statement, as JSON of at most [MaxBundle] bytes.
func (s *Signer) Sign(st Statement) ([]byte, error) {
	data, err := s.signed(st)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", quote(st.PredicateType), err)
	}
	return data, nil
}

func (s *Signer) signed(st Statement) ([]byte, error) {
	if err := st.check(); err != nil {
		return nil, err
	}
	payload, err := json.Marshal(st)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(pae(payloadType, payload))
	sig, err := s.sign(digest[:])
	if err != nil {
		return nil, err
	}
	return sealed{s.id, payload, sig}.seal()
}

func parsePrivate(text []byte) (*ecdsa.PrivateKey, error) {
	der, err := parseBlock(text, privateBlock)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("it is not an ECDSA key on P-256: make one with millrace keys init")
	}
	return key, nil
}

func parsePublic(text string) (*ecdsa.PublicKey, string, error) {
	der, err := parseBlock([]byte(text), publicBlock)
	if err != nil {
		return nil, "", err
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, "", err
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, "", errors.New("it is not an ECDSA key on P-256")
	}
	return key, keyID(der), nil
}

// parseBlock reads text that is one PEM block of this kind, and nothing after it.
func parseBlock(text []byte, kind string) ([]byte, error) {
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return nil, fmt.Errorf("it is no PEM block: it begins with -----BEGIN %s-----", kind)
	case block.Type == "EC PRIVATE KEY":
		return nil, errors.New("it is not PKCS #8: convert it with openssl pkcs8 -topk8 -nocrypt")
	case block.Type != kind:
		return nil, fmt.Errorf("it is a PEM block of kind %s, not %s", quote(block.Type), kind)
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("there is more after the PEM block")
	}
	return block.Bytes, nil
}

func keyID(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}
