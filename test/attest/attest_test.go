// Package attest proves that tools of others verify what Millrace signs.
package attest

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/millrace-cd/millrace/pkg/attest"
)

const (
	image   = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	another = "sha256:486ea46224d1bb4fb680f34f7c9ad96a8f24ec88be73ea8e5a6c65260e9cb8a7"
)

// TestSigstore: the verifier of Sigstore believes a bundle of ours, with the public key
// that trusted.json has, and nothing that was made of it.
func TestSigstore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	keys, err := attest.Init(dir, time.Now(), "tester", "builder")
	if err != nil {
		t.Fatal(err)
	}
	data := sign(t, dir)
	mine, theirs := keys[0], keys[1]
	impostor := theirs // answers to the hint
	impostor.ID = mine.ID
	for _, tt := range []struct {
		name, image string
		key         attest.Key
		data        []byte
		refused     string // "" where it is believed
	}{
		{"as it is", image, mine, data, ""},
		{"another image", another, mine, data, "does not match any digest"},
		{"unknown key", image, theirs, data, "nobody knows " + mine.ID},
		{"another key", image, impostor, data, "could not verify envelope"},
		{"changed payload", image, mine, change(t, data, `"payload":"`, 4), "could not verify envelope"},
		{"changed signature", image, mine, change(t, data, `"sig":"`, 20), "could not verify envelope"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			result, err := sigstore(t, tt.data, tt.key, tt.image)
			if tt.refused != "" {
				if err == nil || !strings.Contains(err.Error(), tt.refused) {
					t.Errorf("%v, want an error of %q", err, tt.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if s := result.Statement; s.GetType() != attest.StatementType || s.GetPredicateType() != "https://example.com/Test/v1" || s.GetPredicate().AsMap()["result"] != "PASSED" {
				t.Errorf("statement: %v", s)
			}
		})
	}
}

func sign(t *testing.T, dir string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, attest.KeyFile("tester")))
	if err != nil {
		t.Fatal(err)
	}
	s, err := attest.ParseSigner(text)
	if err != nil {
		t.Fatal(err)
	}
	st, err := attest.New("https://example.com/Test/v1", map[string]any{"result": "PASSED"},
		attest.Resource{Name: "shop", Digest: attest.Digest(image), Annotations: map[string]any{"n": 1}})
	if err != nil {
		t.Fatal(err)
	}
	data, err := s.Sign(st)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// change puts another letter of base64 some places after a text.
func change(t *testing.T, data []byte, after string, places int) []byte {
	t.Helper()
	i := bytes.Index(data, []byte(after))
	if i < 0 {
		t.Fatalf("the bundle has no %s", after)
	}
	data = bytes.Clone(data)
	at := &data[i+len(after)+places]
	if *at == 'A' {
		*at = 'B'
	} else {
		*at = 'A'
	}
	return data
}

// sigstore verifies offline, with one key and no log of others.
func sigstore(t *testing.T, data []byte, key attest.Key, image string) (*verify.VerificationResult, error) {
	t.Helper()
	block, _ := pem.Decode([]byte(key.PEM))
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := signature.LoadVerifier(public, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	trusted := root.NewTrustedPublicKeyMaterial(func(hint string) (root.TimeConstrainedVerifier, error) {
		if hint != key.ID {
			return nil, unknown(hint)
		}
		return root.NewExpiringKey(verifier, key.From, key.Until), nil
	})
	v, err := verify.NewVerifier(trusted, verify.WithNoObserverTimestamps())
	if err != nil {
		t.Fatal(err)
	}
	sum, err := hex.DecodeString(strings.TrimPrefix(image, "sha256:"))
	if err != nil {
		t.Fatal(err)
	}
	var b bundle.Bundle
	if err := b.UnmarshalJSON(data); err != nil {
		return nil, err
	}
	return v.Verify(&b, verify.NewPolicy(verify.WithArtifactDigest("sha256", sum), verify.WithKey()))
}

type unknown string

func (u unknown) Error() string { return "nobody knows " + string(u) }
