package attest

import (
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

const digest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// statement is the one of testdata/golden.json.
func statement(t testing.TB) Statement {
	t.Helper()
	s, err := New("https://example.com/Test/v1", map[string]any{"result": "PASSED <&>", "number": 7},
		Resource{Name: "shop", Digest: Digest(digest), MediaType: "text/plain", Annotations: map[string]any{"b": "2", "a": "1"}},
		Resource{Name: "commit", URI: "git+https://example.com/shop.git", Digest: map[string]string{"gitCommit": "0123456789012345678901234567890123456789"}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func file(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// signer signs with a key of testdata.
func signer(t testing.TB, name string) *Signer {
	t.Helper()
	s, err := ParseSigner(file(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// trusted is the public half of a key of testdata.
func trusted(t testing.TB, name, service string) Key {
	t.Helper()
	private, err := parsePrivate(file(t, name))
	if err != nil {
		t.Fatal(err)
	}
	key, err := publicOf(private, service)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, s *Signer, st Statement) []byte {
	t.Helper()
	data, err := s.Sign(st)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestGolden keeps the bytes: what was signed once is signed the same way for ever.
func TestGolden(t *testing.T) {
	got := sign(t, signer(t, "test.key"), statement(t))
	if *update {
		if err := os.WriteFile("testdata/golden.json", append(got, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(file(t, "golden.json")), string(got)+"\n"); diff != "" {
		t.Errorf("golden.json (-update writes it): %s", diff)
	}
}

func TestNewRefuses(t *testing.T) {
	good := Resource{Name: "shop", Digest: Digest(digest)}
	tests := []struct {
		name      string
		kind      string
		predicate any
		subject   []Resource
		want      string
	}{
		{"no type", "", struct{}{}, []Resource{good}, "no predicate type"},
		{"no subject", "https://example.com/T", struct{}{}, nil, "0 subjects"},
		{"many subjects", "https://example.com/T", struct{}{}, make([]Resource, maxSubjects+1), "1025 subjects"},
		{"no digest", "https://example.com/T", struct{}{}, []Resource{good, {Name: "bare"}}, `subject 2, "bare": has 0 digests`},
		{"empty digest", "https://example.com/T", struct{}{}, []Resource{{Digest: Digest("sha256")}}, `digest "sha256" is ""`},
		{"no object", "https://example.com/T", []string{"x"}, []Resource{good}, "not a JSON object"},
		{"nothing", "https://example.com/T", nil, []Resource{good}, "not a JSON object"},
		{"no JSON", "https://example.com/T", func() {}, []Resource{good}, "unsupported type"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := New(tt.kind, tt.predicate, tt.subject...); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("New: %v, want %q", err, tt.want)
			}
		})
	}
}

func TestCovers(t *testing.T) {
	s := statement(t)
	for name, want := range map[string]bool{
		digest: true,
		"gitCommit:0123456789012345678901234567890123456789": true,
		"sha256:0123456789012345678901234567890123456789":    false, // right, but of another algorithm
		strings.Replace(digest, "2", "3", 1):                 false,
		strings.TrimPrefix(digest, "sha256:"):                false,
		"sha512:":                                            false,
		"":                                                   false,
	} {
		if got := s.Covers(name); got != want {
			t.Errorf("covers %q: %v, want %v", name, got, want)
		}
	}
}

// TestStatementJSON has the names of the in-toto specification.
func TestStatementJSON(t *testing.T) {
	got, err := json.Marshal(statement(t))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"_type":"https://in-toto.io/Statement/v1","subject":[` +
		`{"name":"shop","digest":{"sha256":"` + strings.TrimPrefix(digest, "sha256:") + `"},"mediaType":"text/plain","annotations":{"a":"1","b":"2"}},` +
		`{"name":"commit","uri":"git+https://example.com/shop.git","digest":{"gitCommit":"0123456789012345678901234567890123456789"}}],` +
		`"predicateType":"https://example.com/Test/v1","predicate":{"number":7,"result":"PASSED \u003c\u0026\u003e"}}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}
