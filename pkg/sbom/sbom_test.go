package sbom

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type entry = tar.Header

// file is an entry whose content is in its Uname, so that a tar is one list.
func file(name, content string) entry {
	return entry{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content)), Uname: content}
}

func dir(name string) entry { return entry{Name: name + "/", Typeflag: tar.TypeDir, Mode: 0o755} }

func hardlink(name, target string) entry {
	return entry{Name: name, Linkname: target, Typeflag: tar.TypeLink}
}

func symlink(name, target string) entry {
	return entry{Name: name, Linkname: target, Typeflag: tar.TypeSymlink}
}

func pack(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range entries {
		content := h.Uname
		h.Uname = ""
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zipped(t testing.TB, method uint16, files ...entry) string {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, f := range files {
		in, err := w.CreateHeader(&zip.FileHeader{Name: f.Name, Method: method})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := in.Write([]byte(f.Uname)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func scan(t testing.TB, entries ...entry) Findings {
	t.Helper()
	f, err := Scan(bytes.NewReader(pack(t, entries...)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// told is what the files tell, one line each.
func told(f Findings) []string {
	var out []string
	for _, file := range f.Files {
		for _, p := range file.Packages {
			line := fmt.Sprintf("%s %s %s", p.Type, p.Name, p.Version)
			for _, more := range []string{p.Arch, p.Upstream, p.License} {
				if more != "" {
					line += " " + more
				}
			}
			if p.Main {
				line += " main"
			}
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

func TestScanFormats(t *testing.T) {
	t.Parallel()
	pom := "#Created by Apache Maven\r\nversion=2.1\r\ngroupId=org.a\r\nartifactId=%s\r\n"
	inner := zipped(t, zip.Deflate, file("META-INF/maven/org.a/inner/pom.properties", fmt.Sprintf(pom, "inner")))
	for name, test := range map[string]struct {
		path, content string
		want          []string
	}{
		"go.mod": {"go.mod", `module example.com/app // the app
go 1.26
require example.com/one v1.0.0
require (
	example.com/two v2.0.0 // indirect
	"example.com/three" v3.0.0
	example.com/four v4.0.0
	example.com/five v5.0.0
)
replace example.com/three => example.com/other v3.1.0
replace (
	example.com/four v4.0.0 => ../four
	example.com/five v5.9.9 => example.com/no v1.0.0
)
exclude example.com/bad v1.0.0
`, []string{"golang example.com/app  main", "golang example.com/one v1.0.0", "golang example.com/two v2.0.0", "golang example.com/other v3.1.0", "golang example.com/four", "golang example.com/five v5.0.0"}},
		"go.sum": {"srv/go.sum", "example.com/a v1.0.0 h1:x=\nexample.com/a v1.0.0/go.mod h1:y=\nexample.com/b v0.9.0/go.mod h1:z=\n", []string{"golang example.com/a v1.0.0"}},
		"package-lock 3": {"package-lock.json", `{"name":"app","lockfileVersion":3,"packages":{
			"":{"name":"app","version":"1.0.0","dependencies":{"a":"^1"}},
			"node_modules/a":{"version":"1.2.3","license":"MIT"},
			"node_modules/a/node_modules/@b/c":{"version":"2.0.0"},
			"node_modules/alias":{"name":"real","version":"3.0.0","license":{"type":"odd"}},
			"node_modules/d":{"version":"4.0.0","dev":true},
			"node_modules/o":{"version":"4.1.0","devOptional":true},
			"node_modules/ws":{"resolved":"packages/ws","link":true},
			"node_modules/git":{"version":"git+ssh://git@example.com/x.git#1"},
			"packages/ws":{"version":"0.0.1"}}}`, []string{"npm a 1.2.3 MIT", "npm @b/c 2.0.0", "npm real 3.0.0", "npm o 4.1.0"}},
		"package-lock 2 says all twice": {"x/package-lock.json", `{"packages":{"node_modules/a":{"version":"1.2.3"}},"dependencies":{"a":{"version":"1.2.3"}}}`, []string{"npm a 1.2.3"}},
		"package-lock 1": {"npm-shrinkwrap.json", `{"lockfileVersion":1,"dependencies":{
			"a":{"version":"1.0.0","requires":{"b":"1"},"dependencies":{"b":{"version":"1.1.0","dev":true},"c":{"version":"1.2.0"}}},
			"al":{"version":"npm:@real/x@2.0.0"},"f":{"version":"file:../f"}}}`, []string{"npm c 1.2.0", "npm a 1.0.0", "npm @real/x 2.0.0"}},
		"package.json":                  {"app/node_modules/@s/p/package.json", `{"name":"@s/p","version":"1.0.0","license":"(MIT OR Apache-2.0)","main":"x.js"}`, []string{"npm @s/p 1.0.0 (MIT OR Apache-2.0)"}},
		"package.json within a package": {"app/node_modules/p/dist/package.json", `{"name":"p","version":"1.0.0"}`, nil},
		"package.json of the app":       {"app/package.json", `{"name":"p","version":"1.0.0"}`, nil},
		"yarn 1": {"yarn.lock", `# yarn lockfile v1


"@a/b@^1.0.0", "@a/b@^1.1.0":
  version "1.1.5"
  resolved "https://registry.yarnpkg.com/@a/b/-/b-1.1.5.tgz#0"
  dependencies:
    version "0.0.0"

c@2:
  version "2.0.0"

"alias@npm:@real/x@^4":
  version "4.0.0"

"l@file:../l":
  version "0.0.0"
`, []string{"npm @a/b 1.1.5", "npm c 2.0.0", "npm @real/x 4.0.0"}},
		"yarn 4": {
			"yarn.lock", "__metadata:\n  version: 8\n\n\"@a/b@npm:^1.0.0, @a/b@npm:^1.1.0\":\n  version: 1.1.5\n  resolution: \"@a/b@npm:1.1.5\"\n\n\"app@workspace:.\":\n  version: 0.0.0-use.local\n",
			[]string{"npm @a/b 1.1.5"},
		},
		"pnpm 9": {
			"pnpm-lock.yaml", "lockfileVersion: '9.0'\nimporters:\n  .:\n    dependencies: {}\npackages:\n\n  '@a/b@1.0.0':\n    resolution: {integrity: sha512-x}\n\n  c@2.0.0(d@3.0.0):\n    resolution: {}\n\n  f@file:../f:\n    resolution: {}\nsnapshots:\n\n  z@9.0.0: {}\n",
			[]string{"npm @a/b 1.0.0", "npm c 2.0.0"},
		},
		"pnpm 6":                       {"pnpm-lock.yaml", "lockfileVersion: '6.0'\npackages:\n\n  /@a/b@1.0.0(x@1.0.0):\n    dev: false\n\n  /c@2.0.0:\n    dev: true\n", []string{"npm @a/b 1.0.0"}},
		"pnpm 5":                       {"pnpm-lock.yaml", "lockfileVersion: 5.4\npackages:\n  /@a/b/1.0.0_react@17.0.0:\n    dev: false\n  /c/2.0.0:\n    dev: false\n", []string{"npm @a/b 1.0.0", "npm c 2.0.0"}},
		"requirements.txt":             {"requirements.txt", "-r other.txt\nFlask[async]==2.0.1 ; python_version >= '3.8'\nrequests>=2\nurllib3 == 1.26 --hash=sha256:0 \\\n    --hash=sha256:1\nx==1.*\ny===3.0 # why\n--find==1\n", []string{"pypi Flask 2.0.1", "pypi urllib3 1.26", "pypi y 3.0"}},
		"poetry.lock":                  {"poetry.lock", "[[package]]\nname = \"a\"\nversion = \"1.0\"\ndescription = \"name = x\"\nfiles = [\n    {file = \"a\", hash = \"b\"},\n]\n\n[package.dependencies]\nname = \"zzz\"\n\n[[package]]\nname = \"b\"\nversion = \"2.0\"\ncategory = \"dev\"\n\n[[package]]\nname = \"c\"\nversion = \"3.0\"\ngroups = [\"dev\"]\n\n[metadata]\nname = \"no\"\n", []string{"pypi a 1.0"}},
		"uv.lock":                      {"uv.lock", "version = 1\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\nsource = { virtual = \".\" }\n\n[[package]]\nname = \"a\"\nversion = \"1.0\"\nsource = { registry = \"https://pypi.org/simple\" }\n", []string{"pypi a 1.0"}},
		"Pipfile.lock":                 {"Pipfile.lock", `{"_meta":{"x":[1,{"y":2}]},"default":{"a":{"version":"==1.0","hashes":[]},"g":{"git":"https://x"}},"develop":{"d":{"version":"==2.0"}}}`, []string{"pypi a 1.0"}},
		"METADATA":                     {"usr/lib/python3/site-packages/Foo_Bar-1.0.dist-info/METADATA", "Metadata-Version: 2.4\nName: Foo_Bar\nVersion: 1.0\nLicense-Expression: MIT\n\nName: no\nVersion: 2\n", []string{"pypi Foo_Bar 1.0 MIT"}},
		"PKG-INFO":                     {"x.egg-info/PKG-INFO", "Name: x\nVersion: 1.0\n", []string{"pypi x 1.0"}},
		"egg-info":                     {"usr/lib/python3/dist-packages/x-1.0.egg-info", "Name: x\nVersion: 1.0\n", []string{"pypi x 1.0"}},
		"wheel":                        {"opt/app.pyz", "#!/usr/bin/env python3\n" + zipped(t, zip.Deflate, file("a/Foo-1.0.dist-info/METADATA", "Name: other"), file("Bar-2.0.dist-info/RECORD", "")), []string{"pypi Foo 1.0"}},
		"Cargo.lock":                   {"Cargo.lock", "version = 3\n\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\ndependencies = [\n \"serde\",\n]\n\n[[package]]\nname = \"serde\"\nversion = \"1.0.0\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n", []string{"cargo serde 1.0.0"}},
		"Gemfile.lock":                 {"Gemfile.lock", "PATH\n  remote: .\n  specs:\n    own (0.1)\n\nGEM\n  remote: https://rubygems.org/\n  specs:\n    nokogiri (1.15.0-x86_64-linux)\n      racc (~> 1.4)\n    rack (3.0.0)\n\nPLATFORMS\n  ruby\n\nDEPENDENCIES\n  rack (= 3)\n", []string{"gem nokogiri 1.15.0 x86_64-linux", "gem rack 3.0.0"}},
		"composer.lock":                {"composer.lock", `{"packages":[{"name":"a/b","version":"v1.0.0","license":["MIT","GPL-2.0-only"],"dist":{}}],"packages-dev":[{"name":"c/d","version":"2"}]}`, []string{"composer a/b v1.0.0 MIT OR GPL-2.0-only"}},
		"jar":                          {"lib/app.jar", zipped(t, zip.Store, file("META-INF/maven/org.a/outer/pom.properties", fmt.Sprintf(pom, "outer")), file("BOOT-INF/lib/inner.jar", inner), file("pom.properties", fmt.Sprintf(pom, "no"))), []string{"maven org.a/outer 2.1", "maven org.a/inner 2.1"}},
		"dpkg":                         {"var/lib/dpkg/status", "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nSource: glibc (2.36)\nVersion: 2.36-9\nDescription: GNU\n Version: 0\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n\nPackage: adduser\nStatus: install ok installed\nSource: adduser\nVersion: 3\n", []string{"deb libc6 2.36-9 amd64 glibc@2.36", "deb adduser 3"}},
		"dpkg of distroless":           {"var/lib/dpkg/status.d/base", "Package: base-files\nVersion: 12\nArchitecture: amd64\n", []string{"deb base-files 12 amd64"}},
		"dpkg elsewhere":               {"srv/var/lib/dpkg/status", "Package: a\nVersion: 1\n", nil},
		"apk":                          {"lib/apk/db/installed", "C:Q1x=\nP:musl\nV:1.2.4-r2\nA:x86_64\nL:MIT\no:musl\nF:lib\n\nP:libcrypto3\nV:3.1-r0\nA:x86_64\no:openssl\n\n", []string{"apk musl 1.2.4-r2 x86_64 MIT", "apk libcrypto3 3.1-r0 x86_64 openssl"}},
		"os-release":                   {"./etc/os-release", "NAME=\"Debian GNU/Linux\"\nID=debian\nVERSION_ID=\"12\"\n", []string{"os debian 12"}},
		"lock of an installed package": {"app/node_modules/a/yarn.lock", "a@1:\n  version \"1\"\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := scan(t, file(test.path, test.content))
			if diff := cmp.Diff(test.want, told(f)); diff != "" {
				t.Error(diff)
			}
			if len(f.Notes) > 0 {
				t.Errorf("notes: %v", f.Notes)
			}
		})
	}
}

// A bill that lacks something says so.
func TestScanNotes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		entries []entry
		notes   []Note
		told    []string
	}{
		"rpm": {[]entry{file("var/lib/rpm/rpmdb.sqlite", "SQLite")}, []Note{{"var/lib/rpm/rpmdb.sqlite", "the database of rpm is not read"}}, nil},
		"cut off, after something": {
			[]entry{file("composer.lock", `{"packages":[{"name":"a/b","version":"1"}`)},
			[]Note{{"composer.lock", "unexpected EOF"}},
			[]string{"composer a/b 1"},
		},
		"a link to what is not read": {
			[]entry{file("store/ab12", `{"name":"p","version":"1"}`), hardlink("node_modules/p/package.json", "store/ab12")},
			[]Note{{"node_modules/p/package.json", `it is a link to "store/ab12", which was not read`}},
			nil,
		},
		"a link to what told nothing": {[]entry{file("a/yarn.lock", ""), hardlink("b/yarn.lock", "a/yarn.lock")}, nil, nil},
		"entries without a version":   {[]entry{file("Pipfile.lock", `{"default":{"a":{"version":"== "}}}`)}, []Note{{"Pipfile.lock", "1 entries are no packages"}}, nil},
		"a reason that steers":        {[]entry{file("\x1b]0;x\x07\u202e/../..", "")}, []Note{{"", `"\x1b]0;x\a\u202e/../.." is no path of a file`}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := scan(t, test.entries...)
			if diff := cmp.Diff(test.notes, f.Notes); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(test.told, told(f)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What cannot be read of many files does not keep the others from being read.
func TestScanManyNotes(t *testing.T) {
	t.Parallel()
	entries := make([]entry, 0, 2*maxNotes+1)
	for i := range 2 * maxNotes {
		entries = append(entries, file(fmt.Sprintf("%d/composer.lock", i), "["))
	}
	f := scan(t, append(entries, file("yarn.lock", lock))...)
	if got := told(f); len(got) != 1 {
		t.Errorf("told %q", got)
	}
	if len(f.Notes) != maxNotes+1 || f.Notes[0].Reason != moreSkipped {
		t.Errorf("%d notes, first %v", len(f.Notes), f.Notes[0])
	}
}

func TestScanReplacedAndLinked(t *testing.T) {
	t.Parallel()
	a, b := "a@1:\n  version \"1.0.0\"\n", "b@1:\n  version \"2.0.0\"\n"
	f := scan(t, file("yarn.lock", a), file("x/yarn.lock", a), hardlink("copy", "./x/yarn.lock"), file("./yarn.lock", b),
		file("gone/yarn.lock", a), symlink("gone/yarn.lock", "x"), hardlink("none", "nowhere"))
	var got []string
	for _, file := range f.Files {
		got = append(got, file.Path+" "+file.Packages[0].Name)
	}
	if diff := cmp.Diff([]string{"copy a", "x/yarn.lock a", "yarn.lock b"}, got); diff != "" {
		t.Error(diff)
	}
}
