package sbom

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	t.Parallel()
	s, entries := artifact()
	got, err := Parse(documentOf(t, scan(t, entries...), s))
	if err != nil {
		t.Fatal(err)
	}
	subject := Component{
		Type: "application", Kind: "generic", Name: "shop", Version: "1.4.0", Digest: digest,
		PURL: "pkg:generic/shop@1.4.0?checksum=" + digest,
	}
	if diff := cmp.Diff(subject, got.Subject); diff != "" {
		t.Error(diff)
	}
	want := Component{
		Type: "library", Kind: "npm", Name: "@shop/cart", Version: "2.1.0", PURL: "pkg:npm/%40shop/cart@2.1.0", License: "MIT",
		Found: []string{"app/node_modules/@shop/cart/package.json"},
	}
	if i := slices.IndexFunc(got.Components, func(c Component) bool { return c.Name == want.Name }); i < 0 || cmp.Diff(want, got.Components[i]) != "" {
		t.Errorf("%+v has no %+v", got.Components, want)
	}
	if want := []string{"lib/x.jar: zip: not a valid zip file"}; !slices.Equal(got.Skipped, want) {
		t.Errorf("skipped %q, want %q", got.Skipped, want)
	}
}

func TestParseOthers(t *testing.T) {
	t.Parallel()
	got, err := Parse([]byte(`{"components":[
		{"type":"library","name":"a","licenses":[{"license":{"id":"MIT"}},{"license":{"name":"own"}},{"expression":"A OR B"}],
		 "components":[{"type":"file","group":"g","name":"b","version":7,"evidence":{"identity":{"field":"purl"}}}]},
		{"type":"library","name":"c","licenses":[{}],"hashes":null,"components":null}],
		"vulnerabilities":null,"dependencies":[{"ref":"a"}],"specVersion":"1.7","bomFormat":"CycloneDX"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := Summary{Components: []Component{
		{Type: "library", Kind: "library", Name: "a", License: "MIT, own, A OR B"},
		{Type: "file", Kind: "file", Name: "g/b"},
		{Type: "library", Kind: "library", Name: "c"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

const begin = `{"bomFormat":"CycloneDX","specVersion":"1.6",`

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat(`{"type":"file","components":[`, maxGroups+2) + strings.Repeat(`]}`, maxGroups+2)
	for name, bad := range map[string]string{
		"empty": "", "no JSON": "<bom/>", "a list": "[]", "another format": `{"spdxVersion":"SPDX-2.3"}`,
		"no version":           `{"bomFormat":"CycloneDX","specVersion":"9"}`,
		"cut off":              begin + `"components":[`,
		"two":                  begin + `"version":1}{}`,
		"not a list":           begin + `"components":{}}`,
		"deep components":      begin + `"components":[` + deep + `]}`,
		"deep":                 begin + `"x":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`,
		"deep where a text":    begin + `"serialNumber":"","components":[{"name":` + strings.Repeat("[", 100_000),
		"many components":      begin + `"components":[` + strings.Repeat("{},", maxItems) + `{}]}`,
		"many vulnerabilities": begin + `"vulnerabilities":[` + strings.Repeat(`{"affects":[{}]},`, maxItems/2) + `{}]}`,
	} {
		if s, err := Parse([]byte(bad)); err == nil || len(err.Error()) > 300 {
			t.Errorf("%s: %d components, %v", name, len(s.Components), err)
		}
	}
	if _, err := Parse(make([]byte, maxDocument+1)); err == nil {
		t.Error("accepted what is too large")
	}
}

// No text of a document, and of no scanner, gets to steer a terminal.
func TestParseIsPrintable(t *testing.T) {
	t.Parallel()
	e := `\u001b[2J\u009b\u202e\u0000\n`
	document := []byte(begin + strings.ReplaceAll(`"metadata":{"component":{"name":"s%"},"properties":[{"name":"millrace:sbom:skipped","value":"p%"}]},
		"components":[{"bom-ref":"r%","type":"t%","group":"g%","name":"n%","version":"v%","purl":"pkg:u%/x","licenses":[{"expression":"l%"}],
		"hashes":[{"alg":"SHA-256","content":"h%"}],"evidence":{"occurrences":[{"location":"o%"}]}}],
		"vulnerabilities":[{"id":"i%","references":[{"id":"a%"}],"recommendation":"f%","affects":[{"ref":"r%"},{"ref":"q%"},{"ref":"pkg:npm/%1b%5B@%0a"}]}]}`, "%\"", e+`"`))
	document = bytes.ReplaceAll(document, []byte("u%/"), []byte("u"+e+"/"))
	s, err := Parse(document)
	if err != nil {
		t.Fatal(err)
	}
	found, err := Vulnerabilities(document)
	if err != nil || len(found) != 1 || len(found[0].Affects) != 3 || !strings.HasPrefix(found[0].Affects[0].Name, "g") {
		t.Fatal(found, err)
	}
	text := fmt.Sprintf("%v %v", s, found)
	if i := strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
		t.Errorf("%q steers a terminal", text[i:])
	}
	if n := strings.Count(text, "?[2J???"); n < 16 {
		t.Errorf("%d texts in %s", n, text)
	}
}

func FuzzParse(f *testing.F) {
	s, found := image(f)
	f.Add(documentOf(f, found, s))
	f.Add([]byte(begin + trivy))
	f.Add([]byte(begin + osv))
	f.Fuzz(func(t *testing.T, document []byte) {
		if s, err := Parse(document); err == nil && strings.ContainsFunc(fmt.Sprint(s), unicode.IsControl) {
			t.Errorf("%q", s)
		}
		if found, err := Vulnerabilities(document); err == nil && strings.ContainsFunc(fmt.Sprint(found), unicode.IsControl) {
			t.Errorf("%q", found)
		}
	})
}
