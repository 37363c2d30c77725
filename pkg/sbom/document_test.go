package sbom

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"
	"github.com/package-url/packageurl-go"
)

var update = flag.Bool("update", false, "write the golden files anew")

var digest = "sha256:" + strings.Repeat("0a", 32)

func artifact() (Subject, []entry) {
	s := Subject{
		Kind: Artifact, Name: "shop", Version: "1.4.0", Digest: digest,
		Properties: map[string]string{"millrace:commit": "4196e14", "millrace:app": "shop"},
	}
	return s, []entry{
		file("app/package-lock.json", `{"packages":{"node_modules/planned":{"version":"1.0.0"}}}`),
		file("app/node_modules/@shop/cart/package.json", `{"name":"@shop/cart","version":"2.1.0","license":"MIT"}`),
		file("app/node_modules/tax/package.json", `{"name":"tax","version":"3.0.0","license":"SEE LICENSE IN <tax>.txt"}`),
		file("app/node_modules/@shop/cart/node_modules/tax/package.json", `{"name":"tax","version":"3.0.0"}`),
		file("bin/server", "\x7fELF"+strings.Repeat("\x00", 12)+blob(2, "go1.26.1", "mod\ta.b/Shop\t(devel)\t\ndep\ta.b/x\tv1.0.0\t\n")),
		file("src/go.mod", "module a.b/Shop\nrequire a.b/tests v1.0.0\n"),
		file("src/go.sum", "a.b/tests v1.0.0 h1:x=\n"),
		file("tools/go.mod", "module a.b/tools\nrequire a.b/lint v1.0.0\n"),
		file("py/requirements.txt", "Flask_Login==0.6\n"),
		file("lib/x.jar", "no zip"),
	}
}

func image(t testing.TB) (Subject, Findings) {
	return Subject{Kind: Image, Name: "registry.example:5000/shop/Web", Version: "v1", Digest: digest},
		Merge(
			scan(t,
				file("usr/lib/os-release", "ID=debian\nVERSION_ID=12\n"), symlink("etc/os-release", "../usr/lib/os-release"),
				file("var/lib/dpkg/status", "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9\nSource: glibc\n\n"+
					"Package: tzdata\nStatus: install ok installed\nArchitecture: all\nVersion: 1:2024a\n"),
				file("usr/local/lib/old/yarn.lock", lock)),
			scan(t, file("usr/local/lib/.wh.old", ""), file("app/lib/a.jar", zipped(t, 8, file("META-INF/maven/g/a/pom.properties", "groupId=org.g\nartifactId=a\nversion=1.0\n")))),
		)
}

func golden(t *testing.T, name string, document []byte) {
	t.Helper()
	var got bytes.Buffer
	if err := json.Indent(&got, document, "", "  "); err != nil {
		t.Fatal(err)
	}
	name = filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(name, got.Bytes(), 0o644); err != nil { //nolint:gosec // as all files of the repository
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s (go test -update writes it anew):\n%s", name, diff)
	}
}

func documentOf(t testing.TB, f Findings, s Subject) []byte {
	t.Helper()
	data, err := f.Document(s)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestDocumentOfArtifact(t *testing.T) {
	t.Parallel()
	s, entries := artifact()
	document := documentOf(t, scan(t, entries...), s)
	golden(t, "artifact.json", document)
	conforms(t, document)
}

func TestDocumentOfImage(t *testing.T) {
	t.Parallel()
	s, f := image(t)
	document := documentOf(t, f, s)
	golden(t, "image.json", document)
	conforms(t, document)
}

func TestDocumentOfNothing(t *testing.T) {
	t.Parallel()
	conforms(t, documentOf(t, Findings{}, Subject{Kind: Artifact, Name: "shop"}))
}

// conforms checks what CycloneDX 1.6 demands of what we write.
func conforms(t testing.TB, document []byte) {
	t.Helper()
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(document), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	if bom.BOMFormat != "CycloneDX" || bom.SpecVersion != cdx.SpecVersion1_6 || bom.Version != 1 {
		t.Errorf("%s %s %d", bom.BOMFormat, bom.SpecVersion, bom.Version)
	}
	if _, err := cdx.NewBOMLink(bom.SerialNumber, bom.Version, nil); err != nil {
		t.Errorf("serial number %s: %v", bom.SerialNumber, err)
	}
	refs := map[string]bool{}
	for _, c := range append(slices.Clone(*bom.Components), *bom.Metadata.Component) {
		if c.BOMRef == "" || refs[c.BOMRef] || c.Name == "" || c.Type == "" {
			t.Errorf("%+v lacks a reference of its own, a name or a type", c)
		}
		refs[c.BOMRef] = true
		if c.Licenses != nil && len(*c.Licenses) == 1 {
			if l := (*c.Licenses)[0]; (l.Expression == "") == (l.License == nil) {
				t.Errorf("%s: license %+v", c.Name, l)
			}
		}
		if c.Type == cdx.ComponentTypeOS {
			continue
		}
		if u, err := packageurl.FromString(c.PackageURL); err != nil || u.ToString() != c.PackageURL {
			t.Errorf("%s: package URL %q: %v", c.Name, c.PackageURL, err)
		}
	}
	if !slices.IsSortedFunc(*bom.Components, func(a, b cdx.Component) int { return strings.Compare(a.BOMRef, b.BOMRef) }) {
		t.Error("components are not sorted")
	}
	// Nothing in it is of another version of the specification.
	var again bytes.Buffer
	if err := cdx.NewBOMEncoder(&again, cdx.BOMFileFormatJSON).SetEscapeHTML(false).EncodeVersion(&bom, cdx.SpecVersion1_6); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(document), again.String()); diff != "" && len(*bom.Components) > 0 {
		t.Error(diff)
	}
}

func TestDocumentIsDeterministic(t *testing.T) {
	t.Parallel()
	s, entries := artifact()
	want := documentOf(t, scan(t, entries...), s)
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // it shuffles
	for range 20 {
		random.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
		data, err := json.Marshal(scan(t, entries...)) // as a cache keeps it
		if err != nil {
			t.Fatal(err)
		}
		var f Findings
		if err := json.Unmarshal(data, &f); err != nil {
			t.Fatal(err)
		}
		if got := documentOf(t, f, s); !bytes.Equal(got, want) {
			t.Fatal(cmp.Diff(string(want), string(got)))
		}
	}
	s.Version = "1.4.1"
	if a, b := serialOf(t, want), serialOf(t, documentOf(t, scan(t, entries...), s)); a == b {
		t.Errorf("two documents of the serial number %s", a)
	}
}

func serialOf(t *testing.T, document []byte) string {
	t.Helper()
	var d struct{ SerialNumber string }
	if err := json.Unmarshal(document, &d); err != nil || d.SerialNumber == "" {
		t.Fatalf("no serial number: %v", err)
	}
	return d.SerialNumber
}

func TestDocumentRefusesSubject(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]Subject{
		"no kind": {Name: "a"}, "another kind": {Name: "a", Kind: "device"}, "no name": {Kind: Image},
		"short digest": {Name: "a", Kind: Image, Digest: "sha256:00"},
		"other digest": {Name: "a", Kind: Image, Digest: "md5:" + digest[7:]},
		"large digest": {Name: "a", Kind: Image, Digest: strings.ToUpper(digest)},
	} {
		if _, err := (Findings{}).Document(s); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestPURL(t *testing.T) {
	t.Parallel()
	debian, none := distro{"debian", "12"}, distro{}
	for _, test := range []struct {
		p    Package
		d    distro
		want string
	}{
		{Package{Type: "deb", Name: "libc6", Version: "2.36-9", Arch: "amd64"}, debian, "pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12"},
		{Package{Type: "deb", Name: "libc6", Version: "1:2", Upstream: "glibc"}, debian, "pkg:deb/debian/libc6@1:2?distro=debian-12&upstream=glibc"},
		{Package{Type: "deb", Name: "a", Version: "1"}, distro{"arch", ""}, "pkg:deb/arch/a@1?distro=arch"},
		{Package{Type: "deb", Name: "a", Version: "1"}, none, "pkg:deb/debian/a@1"},
		{Package{Type: "apk", Name: "musl", Version: "1-r0", Arch: "x86_64"}, none, "pkg:apk/alpine/musl@1-r0?arch=x86_64"},
		{Package{Type: "golang", Name: "github.com/A/b/v2", Version: "v2.0.0+incompatible"}, debian, "pkg:golang/github.com/a/b/v2@v2.0.0%2Bincompatible"},
		{Package{Type: "golang", Name: "stdlib", Version: "1.26.1"}, none, "pkg:golang/stdlib@1.26.1"},
		{Package{Type: "npm", Name: "@a/b", Version: "1.0.0"}, none, "pkg:npm/%40a/b@1.0.0"},
		{Package{Type: "pypi", Name: "Foo_Bar", Version: "1"}, none, "pkg:pypi/foo-bar@1"},
		{Package{Type: "gem", Name: "nokogiri", Version: "1.15.0", Arch: "java"}, none, "pkg:gem/nokogiri@1.15.0?platform=java"},
		{Package{Type: "maven", Name: "org.a/b", Version: "1"}, none, "pkg:maven/org.a/b@1"},
		{Package{Type: "os", Name: "debian", Version: "12"}, debian, ""},
	} {
		if got := test.p.purl(test.d); got != test.want {
			t.Errorf("%s, want %s", got, test.want)
		}
	}
}

func TestLicense(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"MIT": true, "GPL-2.0-only AND (MIT OR BSD-3-Clause)": true, "(Apache-2.0)": true, "GPL-2.0+ WITH Classpath-exception-2.0": true, "LicenseRef-x": true,
		"": false, "MIT BSD": false, "AND": false, "MIT OR": false, "(MIT": false, "MIT)": false, "()": false, "SEE LICENSE IN x": false, "a/b": false, "MIT AND OR BSD": false,
	} {
		if got := isExpression(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// A document fits into what is attached to an image, whatever is in the image.
func TestDocumentIsBounded(t *testing.T) {
	t.Parallel()
	f := Findings{Files: []File{{Path: "a"}}}
	for i := range 10_000 {
		name := fmt.Sprintf("%s%d", strings.Repeat("a", maxField-10), i)
		f.Files[0].Packages = append(f.Files[0].Packages, Package{Type: typeNPM, Name: name, Version: "1"})
	}
	for range 3 * maxNotes {
		f.Notes = append(f.Notes, Note{strings.Repeat("\x1b", maxPath), "<"})
	}
	document := documentOf(t, f, Subject{Kind: Image, Name: "a"})
	if len(document) > 16<<20 {
		t.Errorf("%d bytes", len(document))
	}
	s, err := Parse(document)
	if err != nil || len(s.Components) < 5000 || len(s.Components) == 10_000 || len(s.Skipped) != maxNotes+2 {
		t.Fatalf("%d components, %d notes, %v", len(s.Components), len(s.Skipped), err)
	}
	if got := s.Skipped[maxNotes:]; !slices.Equal(got, []string{moreSkipped, moreSoftware}) {
		t.Errorf("skipped %q", got)
	}
}
