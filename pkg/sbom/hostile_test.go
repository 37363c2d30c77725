package sbom

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/millrace-cd/millrace/pkg/archive"
)

// sparse is a tar with a file of 512 bytes that says it has a tebibyte.
func sparse(t testing.TB, name string) []byte {
	t.Helper()
	h := file(name, "\x7fELF"+strings.Repeat("\x00", 508))
	h.PAXRecords = map[string]string{"XNU.sparse.map": "0,512", "XNU.sparse.numblocks": "1", "XNU.sparse.size": "1099511627776"}
	return bytes.ReplaceAll(pack(t, h), []byte("XNU.sparse"), []byte("GNU.sparse"))
}

// counted is a zip that says it has more files than it can have read.
func counted(size, files int) string {
	end := make([]byte, 22)
	copy(end, "PK\x05\x06")
	binary.LittleEndian.PutUint16(end[8:], uint16(files))
	binary.LittleEndian.PutUint16(end[10:], uint16(files))
	binary.LittleEndian.PutUint32(end[12:], uint32(size)) // of the directory, which is all before
	return strings.Repeat("\x00", size) + string(end)
}

// allocated is how many bytes f takes in all. It may not run beside other tests.
func allocated(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

//nolint:paralleltest // it measures the memory of the process
func TestScanTakesLittleMemory(t *testing.T) {
	elf := "\x7fELF" + strings.Repeat("\x00", 12) + buildMagic + "\x08\x02" + strings.Repeat("\x00", 16) + "\x04go12" + "\xff\xff\x3f"
	var declared []entry
	for i := range 500 {
		declared = append(declared, file(fmt.Sprint(i), elf))
	}
	var deep []entry
	for i := range 200 {
		deep = append(deep, file(fmt.Sprintf("%d/%syarn.lock", i, strings.Repeat("a/", 2000)), lock))
	}
	for _, test := range []struct {
		name  string
		in    []byte
		limit int // MiB
		notes int
	}{
		{"sparse lock file", sparse(t, "yarn.lock"), 2, 1},
		{"sparse program", sparse(t, "a"), 2, 1},
		{"deep JSON that is skipped", pack(t, file("package-lock.json", `{"x":`+strings.Repeat("[", maxText-10))), 4, 1},
		{"deep JSON that is read", pack(t, file("package-lock.json", `{"packages":{"a":`+strings.Repeat("[", maxText-20))), 8, 1},
		{"deep dependencies", pack(t, file("package-lock.json", strings.Repeat(`{"dependencies":{"a":`, 400_000)[:maxText])), 4, 1},
		{"one line", pack(t, file("yarn.lock", strings.Repeat("a", maxText))), 4, 1},
		{"too large", pack(t, file("yarn.lock", strings.Repeat("\n", maxText+1))), 2, 1},
		{"modules that are only declared", pack(t, declared...), 8, 101},
		{"zip that counts more than it has", pack(t, file("a.jar", counted(1<<20, 0xfffe))), 16, 1},
		{"deep directories", pack(t, deep...), 256, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			var f Findings
			var err error
			took := allocated(func() {
				if f, err = Scan(bytes.NewReader(test.in)); err == nil {
					f = Merge(f, f)
				}
			})
			if took > test.limit<<20 {
				t.Errorf("took %d KiB", took>>10)
			}
			if err != nil || len(f.Notes) != test.notes {
				t.Errorf("notes %.500v, %v", f.Notes, err)
			}
		})
	}
}

//nolint:paralleltest // it measures the memory of the process
func TestParseTakesLittleMemory(t *testing.T) {
	for name, document := range map[string]string{
		"components":  begin + `"components":[` + strings.Repeat("{},", 500_000),
		"occurrences": begin + `"components":[{"evidence":{"occurrences":[` + strings.Repeat("{},", 500_000),
		"licenses":    begin + `"components":[{"licenses":[` + strings.Repeat(`{"expression":"a"},`, 200_000),
		"deep":        begin + `"x":` + strings.Repeat("[", 8<<20),
	} {
		t.Run(name, func(t *testing.T) {
			if took := allocated(func() { _, _ = Parse([]byte(document)) }); took > 200<<20 {
				t.Errorf("took %d MiB for %d KiB", took>>20, len(document)>>10)
			}
		})
	}
}

// bomb is a jar with jars that are far larger than it.
func bomb(t testing.TB, jars int) string {
	t.Helper()
	var inner []entry
	for i := range jars {
		inner = append(inner, file(fmt.Sprintf("%d.jar", i), strings.Repeat("\x00", 128<<10)))
	}
	return zipped(t, zip.Deflate, inner...)
}

// The work for all zips is bounded, and one that is honest is read after the others.
func TestZipsShareTheirAccount(t *testing.T) {
	t.Parallel()
	s := newScanner()
	s.unpack = 256 << 10
	try := func(name, content string) {
		h := file(name, content)
		if err := s.file(name, &h, strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	try("bomb.jar", bomb(t, 16))
	if n := len(s.notes); n == 0 || !strings.Contains(s.notes[n-1].Reason, errBomb.Error()) {
		t.Errorf("notes %v", s.notes)
	}
	before := len(s.notes)
	try("another.jar", bomb(t, 16))
	if got := s.notes[before:]; len(got) != 1 || got[0].Reason != errBomb.Error() {
		t.Errorf("notes %v", got)
	}
	try("good.jar", zipped(t, zip.Deflate, file("META-INF/maven/g/a/pom.properties", "groupId=g\nartifactId=a\nversion=1\n")))
	if len(s.told["good.jar"]) != 1 {
		t.Errorf("a good jar is not read: %v", s.notes)
	}
}

// Nothing stays behind, whether a large zip can be read or not.
func TestZipLeavesNoFiles(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	pom := file("META-INF/maven/g/a/pom.properties", "groupId=g\nartifactId=a\nversion=1\n")
	large := zipped(t, zip.Store, file("x", strings.Repeat("x", maxZipMemory)), pom)
	f := scan(t, file("a.jar", large), file("b.jar", large[:len(large)-10]))
	if len(f.Files) != 1 || len(f.Notes) != 1 || f.Notes[0].Path != "b.jar" {
		t.Errorf("files %v, notes %v", f.Files, f.Notes)
	}
	in := pack(t, file("a.jar", large))
	if _, err := Scan(io.MultiReader(bytes.NewReader(in[:maxZipMemory+5000]), iotest.ErrReader(errors.ErrUnsupported))); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a broken reader: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	t.Setenv("TMPDIR", dir+"/gone")
	if _, err := Scan(bytes.NewReader(in)); !errors.Is(err, errSpool) {
		t.Errorf("no place for temporary files: %v", err)
	}
}

func TestScanErrors(t *testing.T) {
	t.Parallel()
	good := pack(t, file("yarn.lock", lock))
	for name, r := range map[string]io.Reader{
		"no tar":  strings.NewReader(strings.Repeat("x", 1024)),
		"cut off": bytes.NewReader(good[:520]),
		"broken":  io.MultiReader(bytes.NewReader(good[:520]), iotest.ErrReader(errors.ErrUnsupported)),
		"at end":  io.MultiReader(bytes.NewReader(good), iotest.ErrReader(errors.ErrUnsupported)),
	} {
		if f, err := Scan(r); err == nil || len(f.Files) > 0 {
			t.Errorf("%s: %v, %v", name, f, err)
		}
	}
	for entries, refused := range map[int]bool{2: false, 1: true} {
		s := newScanner()
		s.entries = entries
		if err := s.tar(&input{r: bytes.NewReader(pack(t, file("a", ""), file("b", "")))}); errors.Is(err, archive.ErrRefused) != refused {
			t.Errorf("two entries where %d may come: %v", entries, err)
		}
	}
}

func TestScanTellsOnlySoMuch(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for i := range maxText / 60 {
		_, _ = fmt.Fprintf(&text, "a%d@1:\n  version \"1.0.0\"\n", i)
	}
	var entries []entry
	for _, name := range []string{"a/yarn.lock", "b/yarn.lock"} {
		entries = append(entries, file(name, text.String()))
	}
	f := scan(t, entries...)
	if n := len(told(f)) * overhead; n > maxTold || n < maxTold/2 {
		t.Errorf("%d bytes are told", n)
	}
	if len(f.Notes) != 1 || f.Notes[0].Reason != moreSoftware {
		t.Errorf("notes %v", f.Notes)
	}
}

func FuzzScan(f *testing.F) {
	f.Add("package-lock.json", []byte(`{"packages":{"node_modules/a":{"version":"1"}},"dependencies":{}}`))
	f.Add("composer.lock", []byte(`{"packages":[{"name":"a/b","version":"1","license":["MIT"]}]}`))
	f.Add("Pipfile.lock", []byte(`{"default":{"a":{"version":"==1"}}}`))
	f.Add("node_modules/a/package.json", []byte(`{"name":"a","version":"1"}`))
	f.Add("yarn.lock", []byte("\"a@npm:b@1, c@2\":\n  version: 1.0.0\n"))
	f.Add("pnpm-lock.yaml", []byte("lockfileVersion: 5.4\npackages:\n  /@a/b/1.0.0_r@1:\n    dev: false\n"))
	f.Add("go.mod", []byte("module a\nrequire (\n\tb v1\n)\nreplace b => c v2\n"))
	f.Add("poetry.lock", []byte("[[package]]\nname = \"a\"\nversion = \"1\"\n"))
	f.Add("Gemfile.lock", []byte("GEM\n  specs:\n    a (1-x)\n"))
	f.Add("requirements.txt", []byte("a[b]==1 ; x\n"))
	f.Add("var/lib/dpkg/status", []byte("Package: a\nStatus: ok installed\nVersion: 1\nSource: b (2)\n"))
	f.Add("a.jar", []byte(zipped(f, zip.Deflate, file("META-INF/maven/g/a/pom.properties", "groupId=g\nartifactId=a\n"))))
	f.Add("a", []byte("\x7fELF"+strings.Repeat("\x00", 12)+blob(2, "go1.20", "path\ta\nmod\tm\tv1.0.0\n")))
	f.Fuzz(func(t *testing.T, name string, content []byte) {
		h := entry{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content)), Format: tar.FormatPAX}
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		if w.WriteHeader(&h) != nil {
			return
		}
		if _, err := w.Write(content); err != nil {
			return
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		found, err := Scan(&out)
		if err != nil {
			return
		}
		conforms(t, documentOf(t, Merge(found), Subject{Kind: Image, Name: "a"}))
	})
}
