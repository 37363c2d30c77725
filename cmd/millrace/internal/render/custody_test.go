package render

import (
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"

	"github.com/millrace-cd/millrace/pkg/attest"
	"github.com/millrace-cd/millrace/pkg/custody"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/sbom"
)

func TestCustody(t *testing.T) {
	d := custody.Delivery{Commit: event.Commit{App: "shop", Number: 7, Author: "Ann", Message: "Say \x1b[31mhello"}}
	sha := func(digit string) map[string]string { return map[string]string{"sha256": strings.Repeat(digit, 64)} }
	link := func(service string, r custody.Results, subject ...attest.Resource) custody.Link {
		return custody.Link{Service: service, Key: attest.Key{ID: strings.Repeat("k", 64)}, Delivery: d, Results: r, Statement: attest.Statement{Subject: subject}}
	}
	links := []custody.Link{
		link(custody.Releaser, custody.Results{Result: "PASSED"}),
		link(custody.Builder, custody.Results{}, attest.Resource{Name: "artifact", Digest: sha("1")}, attest.Resource{Name: "artifact linux/arm64", Digest: sha("2")}, attest.Resource{Name: "artifact linux/amd64", Digest: sha("1")}),
		link(custody.Tester, custody.Results{Result: "WARNED", Passed: []string{"unit"}, Warned: []string{"lint"}},
			attest.Resource{Name: "commit", URI: "git+https://example.com/shop.git@refs/heads/main", Digest: map[string]string{"gitCommit": "abc"}},
			attest.Resource{Name: "tree", Digest: map[string]string{"gitTree": "def"}}, attest.Resource{Name: "snapshot", Digest: sha("3")}),
	}
	var b strings.Builder
	if err := Custody(&b, "r/shop@sha256:9", links); err != nil {
		t.Fatal(err)
	}
	want := `r/shop@sha256:9  holds delivery shop/7
└─ image by the releaser, key kkkkkkkkkkkk: no acceptance
   └─ artifact linux/arm64 sha256:222222222222…, artifact linux/amd64 sha256:111111111111… by the builder, key kkkkkkkkkkkk
      └─ snapshot sha256:333333333333… by the tester, key kkkkkkkkkkkk: tests warned (unit, lint)
         └─ tree def
            └─ commit abc https://example.com/shop.git@refs/heads/main Ann: Say hello
`
	if diff := cmp.Diff(want, ansi.Strip(b.String())); diff != "" {
		t.Error(diff)
	}
}

func TestSBOM(t *testing.T) {
	var b strings.Builder
	s := sbom.Summary{
		Components: []sbom.Component{{Name: "musl", Version: "1.2.5", Kind: "apk", License: "MIT", Found: []string{"lib/apk/db/installed", "x", "y"}}, {Name: "\x1b]0;evil\x07a"}},
		Skipped:    []string{"app.jar: it is too large"},
	}
	if err := SBOM(&b, s); err != nil {
		t.Fatal(err)
	}
	want := `NAME  VERSION  TYPE  LICENSE  FOUND IN
musl  1.2.5    apk   MIT      lib/apk/db/installed and 2 more
a     -        -     -        -
not read: app.jar: it is too large
`
	if diff := cmp.Diff(want, ansi.Strip(b.String())); diff != "" {
		t.Error(diff)
	}
}

func TestVulnerable(t *testing.T) {
	if got := vulnerable(map[string]int{"low": 12, "critical": 1}); got != "1 critical, 12 low" {
		t.Errorf("got %q", got)
	}
}
