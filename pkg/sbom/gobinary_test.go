package sbom

import (
	"bytes"
	"debug/buildinfo"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// program builds a program with two dependencies, one of them replaced by a directory.
func program(t testing.TB, args ...string) []byte {
	t.Helper()
	root := t.TempDir()
	for name, content := range map[string]string{
		"go.mod":     "module example.com/Shop\n\ngo 1.21\n\nrequire example.com/tax v1.4.0\n\nreplace example.com/tax v1.4.0 => ./tax\n",
		"main.go":    "package main\n\nimport \"example.com/tax\"\n\nfunc main() { println(tax.Rate()) }\n",
		"tax/go.mod": "module example.com/tax\n", "tax/tax.go": "package tax\n\nfunc Rate() int { return 19 }\n",
	} {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"build", "-trimpath", "-buildvcs=false", "-o", "out"}, args...)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOPROXY=off", "GOWORK=off", "CGO_ENABLED=0", "GOOS=linux")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(root, "out"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func goRelease() string { return goVersion(runtime.Version()) }

func TestScanGoBinary(t *testing.T) {
	t.Parallel()
	want := []string{"golang stdlib " + goRelease(), "golang example.com/Shop  main", "golang example.com/tax"}
	for name, args := range map[string][]string{
		"plain": nil, "stripped": {"-ldflags=-s -w -buildid="},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// The mode does not matter: a plugin is not executable.
			got := told(scan(t, file("usr/bin/shop", string(program(t, args...)))))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What the standard library reads of a program with real modules has to be the same.
func TestScanAgreesWithBuildInfo(t *testing.T) {
	t.Parallel()
	exe := filepath.Join(t.TempDir(), "program")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", exe, "./testdata/program")
	cmd.Env = append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	info, err := buildinfo.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	want := []Package{
		{Type: "golang", Name: "stdlib", Version: goRelease()},
		{Type: "golang", Name: info.Main.Path, Version: moduleVersion(info.Main.Version), Main: true},
	}
	for _, m := range info.Deps {
		want = append(want, Package{Type: "golang", Name: m.Path, Version: m.Version})
	}
	if len(info.Deps) == 0 {
		t.Fatal("this test tests nothing: the program has no modules")
	}
	if diff := cmp.Diff([]File{{Path: "a", Packages: want}}, scan(t, file("a", string(data))).Files); diff != "" {
		t.Error(diff)
	}
}

func TestScanBinaryInBinary(t *testing.T) {
	t.Parallel()
	outer, inner := program(t), program(t, "-ldflags=-s -w")
	pad := func(n int) []byte { return make([]byte, (16-n%16)%16) }
	both := slices.Concat(outer, pad(len(outer)), inner)
	if got := len(told(scan(t, file("a", string(both))))); got != 6 {
		t.Errorf("%d packages, want 3 of each program", got)
	}
}

// blob is build information as the linker writes it.
func blob(flags byte, version, modules string) string {
	framed := strings.Repeat("0", 16) + modules + strings.Repeat("1", 16)
	return buildMagic + "\x08" + string(flags) + strings.Repeat("\x00", 16) +
		string(rune(len(version))) + version + string(rune(len(framed))) + framed
}

func TestScanOddBinaries(t *testing.T) {
	t.Parallel()
	elf := func(rest ...string) string { return "\x7fELF" + strings.Repeat("\x00", 12) + strings.Join(rest, "") }
	good := blob(2, "go1.20", "path\ta\nmod\tm\tv1.0.0\n")
	for name, test := range map[string]struct {
		content string
		want    []string
		notes   int
	}{
		"good":                        {elf(good), []string{"golang stdlib 1.20", "golang m v1.0.0 main"}, 0},
		"no ELF":                      {"#!/bin/sh\n......" + good, nil, 0},
		"experiment":                  {elf(blob(2, "go1.20 X:foo", "")), []string{"golang stdlib 1.20"}, 0},
		"of no release":               {elf(blob(2, "devel go1.27-abc", "")), []string{"golang stdlib devel-go1.27-abc"}, 0},
		"magic bytes before":          {elf(buildMagic, "\x02\x02", strings.Repeat("\xff", 32), good), []string{"golang stdlib 1.20", "golang m v1.0.0 main"}, 0},
		"magic bytes at an odd place": {elf("12345678", good), nil, 0},
		"over the window's end":       {elf(strings.Repeat("\x00", window-64), good), []string{"golang stdlib 1.20", "golang m v1.0.0 main"}, 0},
		"Go 1.17":                     {elf(blob(0, "", "")), nil, 1},
		"cut off":                     {elf(good[:len(good)-20]), nil, 1},
		"modules too large":           {elf(buildMagic, "\x08\x02", strings.Repeat("\x00", 16), "\x04go12", "\xff\xff\xff\xff\x7f"), nil, 0},
		"no modules that Go wrote":    {elf(blob(2, "go1.20", "mod\tm\n")), []string{"golang stdlib 1.20"}, 1},
		"PE":                          {"MZ" + strings.Repeat("\x00", 14) + good, []string{"golang stdlib 1.20", "golang m v1.0.0 main"}, 0},
		"Mach-O":                      {"\xcf\xfa\xed\xfe" + strings.Repeat("\x00", 12) + good, []string{"golang stdlib 1.20", "golang m v1.0.0 main"}, 0},
		"many programs":               {elf(strings.Repeat(blob(2, "go1.20", "")+strings.Repeat("\x00", 8), maxBuilds+1)), slices.Repeat([]string{"golang stdlib 1.20"}, maxBuilds), 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := scan(t, file("a", test.content))
			if diff := cmp.Diff(test.want, told(f)); diff != "" {
				t.Error(diff)
			}
			if len(f.Notes) != test.notes {
				t.Errorf("notes %v, want %d", f.Notes, test.notes)
			}
		})
	}
}

func BenchmarkGoBinary(b *testing.B) {
	data := slices.Concat(program(b), make([]byte, 100<<20))
	in := pack(b, file("a", string(data)))
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		if f, err := Scan(bytes.NewReader(in)); err != nil || len(f.Files) != 1 {
			b.Fatal(err, f.Notes)
		}
	}
}
