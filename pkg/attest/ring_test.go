package attest

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// ring trusts test.key for the tester for an hour from noon on, and other.key for the
// builder.
func ring(t testing.TB) Ring {
	t.Helper()
	a, b := trusted(t, "test.key", "tester"), trusted(t, "other.key", "builder")
	a.From, a.Until = noon, noon.Add(time.Hour)
	return Ring{a, b}
}

func golden(t testing.TB) []byte {
	t.Helper()
	return bytes.TrimSpace(file(t, "golden.json"))
}

func TestVerify(t *testing.T) {
	r := ring(t)
	for name, at := range map[string]time.Time{
		"early": noon.Add(-Early), "from": noon, "another zone": noon.In(time.FixedZone("", -7*3600)), "last moment": noon.Add(time.Hour - 1),
	} {
		st, key, err := r.Verify(golden(t), "tester", at)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(statement(t), st); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if key != r[0] || !key.ValidAt(at) {
			t.Errorf("%s: key %+v", name, key)
		}
	}
	if _, _, err := r.Verify(sign(t, signer(t, "other.key"), statement(t)), "builder", time.Time{}); err != nil {
		t.Errorf("a key without times: %v", err)
	}
}

// TestVerifyURLAlphabet is what DSSE wants of who verifies.
func TestVerifyURLAlphabet(t *testing.T) {
	data := edit(t, golden(t), func(b *bundle) {
		url := strings.NewReplacer("+", "-", "/", "_")
		b.Envelope.Payload = url.Replace(b.Envelope.Payload)
		b.Envelope.Signatures[0].Signature = url.Replace(b.Envelope.Signatures[0].Signature)
	})
	if bytes.Equal(data, golden(t)) {
		t.Fatal("the golden bundle has none of the letters in which the alphabets differ")
	}
	if _, _, err := ring(t).Verify(data, "tester", noon); err != nil {
		t.Error(err)
	}
}

// edit changes a bundle without signing it anew.
func edit(t testing.TB, data []byte, change func(*bundle)) []byte {
	t.Helper()
	var b bundle
	if err := json.Unmarshal(data, &b); err != nil {
		t.Fatal(err)
	}
	change(&b)
	data, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// flip changes one bit of what is base64.
func flip(t testing.TB, text *string, at int) {
	t.Helper()
	data, err := base64.StdEncoding.DecodeString(*text)
	if err != nil {
		t.Fatal(err)
	}
	data[(at+len(data))%len(data)] ^= 1
	*text = base64.StdEncoding.EncodeToString(data)
}

// sealAs signs any payload as any type.
func sealAs(t testing.TB, s *Signer, kind, payload string) []byte {
	t.Helper()
	sum := sha256.Sum256(pae(kind, []byte(payload)))
	sig, err := s.sign(sum[:])
	if err != nil {
		t.Fatal(err)
	}
	data, err := sealed{s.id, []byte(payload), sig}.seal()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestVerifyRefuses(t *testing.T) {
	r, good := ring(t), golden(t)
	mine, theirs := signer(t, "test.key"), signer(t, "other.key")
	payload, err := json.Marshal(statement(t))
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(*bundle)) []byte { return edit(t, good, f) }
	replace := func(from, to string) []byte { return bytes.Replace(good, []byte(from), []byte(to), 1) }
	signed := func(from, to string) []byte {
		return sealAs(t, mine, payloadType, strings.Replace(string(payload), from, to, 1))
	}
	tests := []struct {
		name   string
		bundle []byte
		want   error
		text   string
	}{
		{"nothing", nil, ErrBundle, "EOF"},
		{"null", []byte("null"), ErrBundle, `media type is ""`},
		{"no JSON", []byte("bundle"), ErrBundle, "invalid character"},
		{"cut", good[:len(good)-1], ErrBundle, "unexpected EOF"},
		{"twice", append(bytes.Clone(good), good...), ErrBundle, "more after the JSON"},
		{"garbage after", append(bytes.Clone(good), '}'), ErrBundle, "more after the JSON"},
		{"too large", append(bytes.Clone(good), bytes.Repeat([]byte(" "), MaxBundle)...), ErrBundle, "more than 1048576 bytes"},
		{"unknown field", replace(`{"mediaType"`, `{"extra":1,"mediaType"`), ErrBundle, `unknown field "extra"`},
		{"certificate", replace(`"publicKey":`, `"certificate":{},"publicKey":`), ErrBundle, `unknown field "certificate"`},
		{"bundle v0.2", change(func(b *bundle) { b.MediaType = "application/vnd.dev.sigstore.bundle+json;version=0.2" }), ErrBundle, "version=0.2"},
		{"no media type", change(func(b *bundle) { b.MediaType = "" }), ErrBundle, `media type is ""`},
		{"payload type", change(func(b *bundle) { b.Envelope.PayloadType = "text/plain" }), ErrBundle, `payload type is "text/plain"`},
		{"unsigned", change(func(b *bundle) { b.Envelope.Signatures = nil }), ErrBundle, "0 signatures"},
		{"signed twice", change(func(b *bundle) { b.Envelope.Signatures = append(b.Envelope.Signatures, b.Envelope.Signatures[0]) }), ErrBundle, "2 signatures"},
		{"payload no base64", change(func(b *bundle) { b.Envelope.Payload = "?" }), ErrBundle, "payload: illegal base64"},
		{"signature no base64", change(func(b *bundle) { b.Envelope.Signatures[0].Signature = "?" }), ErrBundle, "signature: illegal base64"},

		{"first byte of payload", change(func(b *bundle) { flip(t, &b.Envelope.Payload, 0) }), ErrSignature, "key " + r[0].Short() + " of tester did not sign this"},
		{"last byte of payload", change(func(b *bundle) { flip(t, &b.Envelope.Payload, -1) }), ErrSignature, r[0].Short()},
		{"last byte of signature", change(func(b *bundle) { flip(t, &b.Envelope.Signatures[0].Signature, -1) }), ErrSignature, r[0].Short()},
		{"first byte of signature", change(func(b *bundle) { flip(t, &b.Envelope.Signatures[0].Signature, 0) }), ErrSignature, r[0].Short()},
		{"no signature", change(func(b *bundle) { b.Envelope.Signatures[0].Signature = "" }), ErrSignature, r[0].Short()},
		{"signed as another type", sealAs(t, mine, "text/plain", string(payload)), ErrSignature, r[0].Short()},
		{"another trusted key", change(func(b *bundle) { b.VerificationMaterial.PublicKey.Hint = theirs.Key() }), ErrSignature, "key " + r[1].Short() + " of builder did not sign this"},

		{"no key", change(func(b *bundle) { b.VerificationMaterial.PublicKey.Hint = "" }), ErrKey, `nobody knows key ""`},
		{"unknown key", change(func(b *bundle) { b.VerificationMaterial.PublicKey.Hint = strings.Repeat("\x1b", 999) }), ErrKey, `nobody knows key "\x1b`},
		{"beginning of the key", change(func(b *bundle) { b.VerificationMaterial.PublicKey.Hint = r[0].Short() }), ErrKey, "nobody knows"},
		{"key of another service", sign(t, theirs, statement(t)), ErrKey, "key " + r[1].Short() + " is of builder, not of tester"},

		{"statement no JSON", sealAs(t, mine, payloadType, "PASSED"), ErrBundle, "signed by key " + r[0].Short()},
		{"statement null", sealAs(t, mine, payloadType, "null"), ErrBundle, `of type ""`},
		{"two statements", sealAs(t, mine, payloadType, string(payload)+string(payload)), ErrBundle, "after top-level value"},
		{"statement v0.1", signed("Statement/v1", "Statement/v0.1"), ErrBundle, "Statement/v0.1"},
		{"no predicate type", signed("https://example.com/Test/v1", ""), ErrBundle, "no predicate type"},
		{"no predicate", signed(`"predicate":`, `"other":`), ErrBundle, "not a JSON object"},
		{"no subject", signed(`"subject":`, `"subjects":`), ErrBundle, "0 subjects"},
		{"no digest", signed(`"digest":`, `"digests":`), ErrBundle, `subject 1, "shop": has 0 digests`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st, key, err := r.Verify(tt.bundle, "tester", noon)
			wantRefused(t, err, tt.want, tt.text)
			if st.Type != "" || key.ID != "" {
				t.Errorf("refused, and still there is %+v of %+v", st, key)
			}
		})
	}
}

// wantRefused wants this error and none of the other two, in few words.
func wantRefused(t *testing.T, err, want error, text string) {
	t.Helper()
	for _, kind := range []error{ErrBundle, ErrSignature, ErrKey} {
		if errors.Is(err, kind) != (kind == want) { //nolint:errorlint // which of the three it is
			t.Errorf("error %v is %q: %v", err, kind, errors.Is(err, kind))
		}
	}
	if err != nil && (!strings.Contains(err.Error(), text) || len(err.Error()) > 600) {
		t.Errorf("error %q, want %q in few words", err, text)
	}
}

func TestVerifyTimes(t *testing.T) {
	for _, tt := range []struct {
		name string
		at   time.Time
		text string
	}{
		{"before", noon.Add(-Early - 1), "trusted from 2026-03-01T12:00:00Z on, not at 2026-03-01T11:54:59Z"},
		{"end", noon.Add(time.Hour), "trusted until 2026-03-01T13:00:00Z, not at 2026-03-01T13:00:00Z"},
		{"never", time.Time{}, "trusted from"},
		{"later", noon.AddDate(9, 0, 0), "trusted until"},
	} {
		_, _, err := ring(t).Verify(golden(t), "tester", tt.at)
		wantRefused(t, err, ErrKey, tt.text)
	}
}

// TestVerifyOtherPEM is a ring that was not parsed: its ids are what somebody wrote.
func TestVerifyOtherPEM(t *testing.T) {
	r := ring(t)
	r[1].ID = r[0].ID // other.key, which calls itself test.key
	_, _, err := r[1:].Verify(golden(t), "builder", noon)
	wantRefused(t, err, ErrKey, "the public key has the id")
	r[1].PEM = "x"
	_, _, err = r[1:].Verify(golden(t), "builder", noon)
	wantRefused(t, err, ErrKey, "no PEM block")
}

func TestParseRing(t *testing.T) {
	data, err := ring(t).marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseRing(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ring(t), got); diff != "" {
		t.Error(diff)
	}
	id := got[0].ID
	tests := []struct{ name, from, to, want string }{
		{"no keys", string(data), `{"keys":[]}`, "there are 0"},
		{"array", string(data), `[]`, "cannot unmarshal array"},
		{"unknown end", `"until"`, `"to"`, `unknown field "to"`},
		{"more after it", "\n}\n", "\n}{}\n", "more after the JSON"},
		{"another id", id, strings.Repeat("0", 64), "has the id " + id},
		{"upper case id", id, strings.ToUpper(id), "has the id " + id},
		{"no id", `"id": "` + id + `",`, "", "has the id " + id},
		{"no service", `"tester"`, `""`, `"" is not the name of a service`},
		{"path", `"tester"`, `"../tester"`, `is not the name of a service`},
		{"never trusted", "2026-03-01T13", "2026-03-01T11", "ends before it begins"},
		{"no time", "2026-03-01T13:00:00Z", "tomorrow", "cannot parse"},
		{"private key", "PUBLIC KEY", "PRIVATE KEY", "no PEM block"},
		{"no key", "BEGIN PUBLIC KEY", "", "no PEM block"},
		{"too large", "{", strings.Repeat(" ", maxRing) + "{", "more than 1048576 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(string(data), tt.from, tt.to, 1)
			if text == string(data) {
				t.Fatal("nothing changed")
			}
			if _, err := ParseRing([]byte(text)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ParseRing: %v, want %q", err, tt.want)
			}
		})
	}
	r := ring(t)
	if _, err := append(r, r[0]).marshal(); err == nil || !strings.Contains(err.Error(), "is there twice") {
		t.Errorf("the same key twice: %v", err)
	}
}

// FuzzVerify: whatever comes, it is refused, or it is the statement that was signed.
func FuzzVerify(f *testing.F) {
	good := golden(f)
	f.Add(good)
	f.Add(sign(f, signer(f, "other.key"), statement(f)))
	f.Add(edit(f, good, func(b *bundle) { flip(f, &b.Envelope.Payload, 9) }))
	f.Add(edit(f, good, func(b *bundle) { b.Envelope.Signatures = nil }))
	f.Add([]byte(`{"mediaType":"` + BundleType + `","dsseEnvelope":{"signatures":[{"sig":""}]}}`))
	r, want := ring(f), statement(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		st, key, err := r.Verify(data, "tester", noon)
		switch {
		case err == nil && (key != r[0] || !cmp.Equal(st, want)):
			t.Errorf("believed: %+v", st)
		case err != nil && (st.Type != "" || key.ID != ""):
			t.Errorf("refused, and still there: %+v", st)
		case err != nil && !errors.Is(err, ErrBundle) && !errors.Is(err, ErrSignature) && !errors.Is(err, ErrKey):
			t.Errorf("another error: %v", err)
		}
	})
}

// FuzzParseRing: what is read is sound, and is the same when it is written and read.
func FuzzParseRing(f *testing.F) {
	data, err := ring(f).marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"keys":[{"id":"","service":"tester","publicKey":""}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseRing(data)
		if err != nil {
			return
		}
		again, err := r.marshal()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseRing(again); err != nil || !cmp.Equal(r, got) {
			t.Errorf("written and read: %v, %v", got, err)
		}
	})
}
