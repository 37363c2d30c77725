package hello

import (
	"flag"
	"io/fs"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

const example = "../../../../examples/hello"

var update = flag.Bool("update", false, "make hello.txtar of the example")

// TestSame fails where the example has changed: go test ./internal/hello -update
func TestSame(t *testing.T) {
	want := read(t, os.DirFS(example))
	if *update {
		ar := &txtar.Archive{Comment: []byte("examples/hello, made by: go test ./internal/hello -update\n")}
		for _, name := range sorted(t, os.DirFS(example)) {
			ar.Files = append(ar.Files, txtar.File{Name: name, Data: []byte(want[name])})
		}
		if err := os.WriteFile("hello.txtar", txtar.Format(ar), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	files, err := Files()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, read(t, files)); diff != "" {
		t.Error("examples/hello and hello.txtar differ; -update makes them the same", diff)
	}
}

func read(t *testing.T, files fs.FS) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range sorted(t, files) {
		data, err := fs.ReadFile(files, name)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(data)
	}
	return all
}

func sorted(t *testing.T, files fs.FS) (names []string) {
	t.Helper()
	err := fs.WalkDir(files, ".", func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
