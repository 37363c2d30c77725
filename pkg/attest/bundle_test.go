package attest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"
	"testing"
)

// TestVector is the example of DSSE's protocol.md, version 1.0.2. Its signature is
// deterministic too, as r and s side by side.
func TestVector(t *testing.T) {
	encoded := pae("http://example.com/HelloWorld", []byte("hello world"))
	if got, want := string(encoded), "DSSEv1 29 http://example.com/HelloWorld 11 hello world"; got != want {
		t.Fatalf("pae: %q, want %q", got, want)
	}
	d, _ := new(big.Int).SetString("97358161215184420915383655311931858321456579547487070936769975997791359926199", 10)
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d.FillBytes(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(encoded)
	der, err := s.sign(sum[:])
	if err != nil {
		t.Fatal(err)
	}
	var parts struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &parts); err != nil {
		t.Fatal(err)
	}
	got := base64.StdEncoding.EncodeToString(append(parts.R.FillBytes(make([]byte, 32)), parts.S.FillBytes(make([]byte, 32))...))
	if want := "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="; got != want {
		t.Errorf("signature: %s, want %s", got, want)
	}
}

// TestPAE counts bytes, not letters.
func TestPAE(t *testing.T) {
	for _, tt := range []struct{ kind, payload, want string }{
		{"", "", "DSSEv1 0  0 "},
		{"t", "ಠ", "DSSEv1 1 t 3 ಠ"},
		{"a b", "c d", "DSSEv1 3 a b 3 c d"},
	} {
		if got := string(pae(tt.kind, []byte(tt.payload))); got != tt.want {
			t.Errorf("pae of %q, %q: %q, want %q", tt.kind, tt.payload, got, tt.want)
		}
	}
}

func TestParseSigner(t *testing.T) {
	good := string(file(t, "test.key"))
	block := func(kind string) string { return strings.ReplaceAll(good, "PRIVATE KEY", kind) }
	tests := []struct{ name, text, want string }{
		{"nothing", "", "it is no PEM block"},
		{"not PEM", "key", "it is no PEM block"},
		{"two", good + good, "more after the PEM block"},
		{"public", block("PUBLIC KEY"), `of kind "PUBLIC KEY", not PRIVATE KEY`},
		{"SEC 1", block("EC PRIVATE KEY"), "openssl pkcs8 -topk8 -nocrypt"},
		{"encrypted", block("ENCRYPTED PRIVATE KEY"), `of kind "ENCRYPTED PRIVATE KEY"`},
		{"cut", "-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n", "private key: "},
		{"another curve", p384, "not an ECDSA key on P-256"},
		{"another kind", ed25519, "not an ECDSA key on P-256"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := ParseSigner([]byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ParseSigner: %v, want %q", err, tt.want)
			}
		})
	}
}

func TestSignerIsSilent(t *testing.T) {
	private, err := parsePrivate(file(t, "test.key"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := private.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%v %+v %#v", signer(t, "test.key"), signer(t, "test.key"), *signer(t, "test.key"))
	for _, secret := range []string{fmt.Sprintf("%d", raw), hex.EncodeToString(raw), new(big.Int).SetBytes(raw).String()} {
		if strings.Contains(text, strings.Trim(secret, "[]")) {
			t.Errorf("printing a signer shows its key: %s", text)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	s, st := signer(t, "test.key"), statement(t)
	st.Type = "https://in-toto.io/Statement/v0.1"
	if _, err := s.Sign(st); err == nil || !strings.Contains(err.Error(), "v0.1") {
		t.Errorf("another type: %v", err)
	}
	st = statement(t)
	st.Predicate = []byte(`{"x":"` + strings.Repeat("x", MaxBundle*3/4) + `"}`)
	if _, err := s.Sign(st); err == nil || !strings.Contains(err.Error(), "more than 1048576") {
		t.Errorf("too large: %v", err)
	}
}

// Keys of other kinds, of which nothing else is known.
const (
	p384 = `-----BEGIN PRIVATE KEY-----
MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDCzVJdMeJf+m8yHG8lt
DTRchm8tWhVIdVEhj70MpUjba448g05k5tf6V4tm5VKCeBmhZANiAASWkOvZbg2P
dj2mCyVTp5UCJ3gpaL91O1FA0a4gFdXAizb2cNmFXhSYb0rIv//N1VdUR9JeqRms
yBPi/QtNRbndWLjvWbI27+5aPRcHL4D8XDTLsY5CpQE2m2THbuLHZ0A=
-----END PRIVATE KEY-----`
	ed25519 = `-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIHlWJ4ePnm3hcjHe+9A3O5W2FAjTKa5Ef9bCQUp0NADg
-----END PRIVATE KEY-----`
)
