package fetch

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace-cd/millrace/pkg/archive"
)

// pack is a tar of name, content, name, content …; a content that begins with an arrow is
// a link's target.
func pack(t *testing.T, pairs ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(pairs); i += 2 {
		h := &tar.Header{Name: pairs[i], Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(pairs[i+1]))}
		body := pairs[i+1]
		if target, is := strings.CutPrefix(body, "→"); is {
			h.Typeflag, h.Linkname, h.Size, body = tar.TypeSymlink, target, 0, ""
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// tree is what lies in a directory: names and contents, or where links lead.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, name)
		if d.Type() == fs.ModeSymlink {
			target, err := os.Readlink(name)
			files[rel] = "→" + target
			return err
		}
		data, err := os.ReadFile(name)
		files[rel] = string(data)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return files
}

func TestInto(t *testing.T) {
	all := []string{"a", "1", "d/b", "2", "d/e/c", "→../../a", "dd", "3"}
	tests := []struct {
		name    string
		want    Paths
		there   map[string]string
		replace bool
		after   map[string]string
		exists  Exists
	}{
		{"all", nil, nil, false, map[string]string{"a": "1", "d/b": "2", "d/e/c": "→../../a", "dd": "3"}, nil},
		{"a file", Paths{"d/b"}, nil, false, map[string]string{"d/b": "2"}, nil},
		{"a directory, not what only begins like it", Paths{"d"}, nil, false, map[string]string{"d/b": "2", "d/e/c": "→../../a"}, nil},
		{"beside others", Paths{"a"}, map[string]string{"mine": "0", "d/b": "0"}, false, map[string]string{"mine": "0", "d/b": "0", "a": "1"}, nil},
		{"in the way", nil, map[string]string{"dd": "0", "a": "0"}, false, map[string]string{"dd": "0", "a": "0"}, Exists{"a", "dd"}},
		{"replaced", Paths{"a"}, map[string]string{"a": "0"}, true, map[string]string{"a": "1"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "new", "dir")
			for name, content := range tt.there {
				write(t, filepath.Join(dir, name), content)
			}
			_, err := Into(dir, bytes.NewReader(pack(t, all...)), tt.want, tt.replace)
			exists, _ := errors.AsType[Exists](err)
			if diff := cmp.Diff(tt.exists, exists); diff != "" || exists == nil && err != nil {
				t.Errorf("%v %s", err, diff)
			}
			if diff := cmp.Diff(tt.after, tree(t, dir)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// TestIntoLeavesNothing gives tars that are not to be trusted: nothing of them stays,
// neither inside nor outside.
func TestIntoLeavesNothing(t *testing.T) {
	corrupt := errors.New("corrupt")
	tests := []struct {
		name string
		tar  io.Reader
		want error
	}{
		{"a name that leads out", bytes.NewReader(pack(t, "a", "1", "../canary", "2")), archive.ErrRefused},
		{"a link that leads out", bytes.NewReader(pack(t, "a", "→..", "a/canary", "2")), archive.ErrRefused},
		{"the same twice", bytes.NewReader(pack(t, "a", "1", "a", "2")), archive.ErrRefused},
		{"wrong at its end", io.MultiReader(bytes.NewReader(pack(t, "a", "1")), failing{corrupt}), corrupt},
		{"cut", bytes.NewReader(pack(t, "a", strings.Repeat("1", 5000))[:3000]), io.ErrUnexpectedEOF},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			base := t.TempDir()
			if _, err := Into(filepath.Join(base, "dir"), tt.tar, nil, true); !errors.Is(err, tt.want) {
				t.Errorf("error is %v, want %v", err, tt.want)
			}
			if left := tree(t, base); len(left) != 0 {
				t.Errorf("left are %v", left)
			}
		})
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestIntoStaysInside extracts over a link of the directory's that leads out of it.
func TestIntoStaysInside(t *testing.T) {
	base := t.TempDir()
	dir, outside := filepath.Join(base, "dir"), filepath.Join(base, "outside")
	write(t, filepath.Join(outside, "b"), "safe")
	write(t, filepath.Join(dir, "x"), "")
	if err := os.Symlink("../outside", filepath.Join(dir, "d")); err != nil {
		t.Fatal(err)
	}
	for _, replace := range []bool{true, false} {
		if _, err := Into(dir, bytes.NewReader(pack(t, "d/b", "pwned", "d/c", "pwned")), nil, replace); err == nil {
			t.Error("no error")
		}
	}
	if diff := cmp.Diff(map[string]string{"b": "safe"}, tree(t, outside)); diff != "" {
		t.Error(diff)
	}
}

func TestSelect(t *testing.T) {
	files := []archive.File{{Path: "a"}, {Path: "d/b"}}
	p := Select([]string{"./a", "d/", "d/b", "d/./x", "b"})
	if diff := cmp.Diff(Paths{"a", "d", "d/b", "d/x", "b"}, p); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"d/x", "b"}, p.Missing(files)); diff != "" {
		t.Error(diff)
	}
	if all := Select([]string{"."}); all != nil || !all.Has("a") {
		t.Errorf("a dot selects %v, want all", all)
	}
}
