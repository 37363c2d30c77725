package attest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// keys makes keys for two services.
func keys(t *testing.T) (dir string, made []Key) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "new", "keys")
	made, err := Init(dir, noon, "tester", "builder")
	if err != nil {
		t.Fatal(err)
	}
	return dir, made
}

// empty is a directory of ours alone, whatever the umask.
func empty(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "empty")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// contents are the files of a directory, each with its mode.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[f.Name()] = mode(t, filepath.Join(dir, f.Name())) + " " + string(data)
	}
	return all
}

func mode(t *testing.T, name string) string {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().String()
}

func TestInit(t *testing.T) {
	dir, made := keys(t)
	for name, want := range map[string]string{
		"": "drwx------", "tester.key": "-rw-------", "builder.key": "-rw-------", TrustedFile: "-rw-r--r--",
	} {
		if got := mode(t, filepath.Join(dir, name)); got != want {
			t.Errorf("mode of %q: %s, want %s", name, got, want)
		}
	}
	if got := len(contents(t, dir)); got != 3 {
		t.Errorf("%d files, want 3", got)
	}
	r, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Ring(made), r); diff != "" {
		t.Errorf("the ring has others than were made: %s", diff)
	}
	for i, service := range []string{"tester", "builder"} {
		s, _, err := readSigner(filepath.Join(dir, KeyFile(service)))
		if err != nil {
			t.Fatal(err)
		}
		if k := r[i]; k.ID != s.Key() || k.Service != service || !k.From.Equal(noon) || !k.Until.IsZero() {
			t.Errorf("key of %s (%s): %+v", service, s.Key(), k)
		}
		if _, _, err := r.Verify(sign(t, s, statement(t)), service, noon.AddDate(50, 0, 0)); err != nil {
			t.Errorf("key of %s: %v", service, err)
		}
	}
}

func TestInitChangesNothing(t *testing.T) {
	for _, there := range []string{"tester.key", "builder.key", TrustedFile} {
		t.Run(there, func(t *testing.T) {
			dir := empty(t)
			if err := os.WriteFile(filepath.Join(dir, there), []byte("mine"), 0o600); err != nil {
				t.Fatal(err)
			}
			before := contents(t, dir)
			_, err := Init(dir, noon, "tester", "builder")
			if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), there+" is there already") {
				t.Errorf("Init: %v", err)
			}
			if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestInitRefuses(t *testing.T) {
	open := t.TempDir()
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, dir string
		services  []string
		want      string
	}{
		{"nobody", empty(t), nil, "there are 0"},
		{"path", empty(t), []string{"tester", "../x"}, `"../x" is not the name of a service`},
		{"the same twice", empty(t), []string{"tester", "builder", "tester"}, "file exists"},
		{"directory of all", open, []string{"tester"}, "may be written by others (mode 0777): chmod 700 " + open},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Init(tt.dir, noon, tt.services...); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Init: %v, want %q", err, tt.want)
			}
			if left := contents(t, tt.dir); len(left) > 0 {
				t.Errorf("it failed and left %v", left)
			}
		})
	}
}

func TestReadPrivate(t *testing.T) {
	for _, m := range []os.FileMode{0o640, 0o604, 0o620, 0o610, 0o644} {
		dir, _ := keys(t)
		name := filepath.Join(dir, "tester.key")
		if err := os.Chmod(name, m); err != nil {
			t.Fatal(err)
		}
		for what, err := range map[string]error{"Open": second(Open(Config{Dir: dir, Service: "tester"})), "List": second(List(dir))} {
			if err == nil || !strings.Contains(err.Error(), "chmod 600 "+name) {
				t.Errorf("%s with mode %o: %v", what, m, err)
			}
		}
		if _, err := Open(Config{Dir: dir, Service: "builder"}); err != nil {
			t.Errorf("the other key: %v", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestReadRefuses(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, make([]byte, maxKeyPEM+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		large: "more than 16384 bytes", dir: "not a regular file", filepath.Join(dir, "none"): "millrace keys init makes it",
	} {
		if _, _, err := readPrivate(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

func TestList(t *testing.T) {
	dir, made := keys(t)
	key := rotated(t, dir, noon, keep)
	stray := filepath.Join(dir, "deployer.key")
	if err := os.WriteFile(stray, file(t, "test.key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "builder.key")); err != nil {
		t.Fatal(err)
	}
	got, err := List(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []Entry{
		{until(made[0], noon.Add(keep)), false, true},
		{made[1], false, true},
		{key, true, true},
		{trusted(t, "test.key", "deployer"), true, false},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestLock: two that change keys at the same time would lose one of the changes.
func TestLock(t *testing.T) {
	dir, _ := keys(t)
	unlock, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Rotate(dir, "tester", noon, time.Hour); err == nil || !strings.Contains(err.Error(), "another process changes the keys") {
		t.Errorf("Rotate beside another: %v", err)
	}
	unlock()
	if _, err := Rotate(dir, "tester", noon, time.Hour); err != nil {
		t.Error(err)
	}
}
