package archive_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace-cd/millrace/pkg/archive"
)

func open(t *testing.T, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root
}

type part func(*tar.Writer)

func put(name, body string) part {
	return func(w *tar.Writer) {
		_ = w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(body)), Typeflag: tar.TypeReg})
		_, _ = io.WriteString(w, body)
	}
}

func special(kind byte, name, to string) part {
	return func(w *tar.Writer) {
		_ = w.WriteHeader(&tar.Header{Name: name, Linkname: to, Typeflag: kind, Mode: 0o777})
	}
}

func zeros(name string, size int64) part {
	return func(w *tar.Writer) {
		_ = w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size, Typeflag: tar.TypeReg})
		_, _ = io.CopyN(w, zero{}, size)
	}
}

type zero struct{}

func (zero) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func build(w io.Writer, parts ...part) {
	tw := tar.NewWriter(w)
	for _, p := range parts {
		p(tw)
	}
	_ = tw.Close()
}

func many(n int) (parts []part) {
	for i := range n {
		parts = append(parts, put(fmt.Sprintf("f%d", i), ""))
	}
	return parts
}

// limits are small, so that a bomb is one after a few bytes.
func limits() archive.Limits {
	return archive.Limits{FileBytes: 8 << 20, TotalBytes: 16 << 20, Entries: 10_000, PathBytes: 1024, Depth: 32, Links: true}
}

func TestExtractRefuses(t *testing.T) {
	t.Parallel()
	canary := filepath.Join(t.TempDir(), "canary")
	for name, parts := range map[string][]part{
		"parent":                    {put("../canary", "pwned")},
		"parent behind a directory": {put("a/../../canary", "pwned")},
		"absolute":                  {put(canary, "pwned")},
		"link up, then through it":  {special(tar.TypeSymlink, "d", ".."), put("d/canary", "pwned")},
		"link in, then through it":  {put("e/x", ""), special(tar.TypeSymlink, "d", "e"), put("d/canary", "pwned")},
		"link in steps":             {special(tar.TypeSymlink, "a/b/up", "../.."), special(tar.TypeSymlink, "a/b/out", "up/../x")},
		"absolute link":             {special(tar.TypeSymlink, "l", canary), put("l", "pwned")},
		"link, then its name":       {special(tar.TypeSymlink, "l", "x"), put("l", "pwned")},
		"file, then a link":         {put("l", "1"), special(tar.TypeSymlink, "l", "x")},
		"link to nothing":           {special(tar.TypeSymlink, "l", "")},
		"hard link":                 {special(tar.TypeLink, "h", canary), put("h", "pwned")},
		"hard link inside":          {put("a", "1"), special(tar.TypeLink, "h", "a")},
		"block device":              {special(tar.TypeBlock, "dev", "")},
		"character device":          {special(tar.TypeChar, "dev", "")},
		"fifo":                      {special(tar.TypeFifo, "p", "")},
		"unknown type":              {special('Z', "p", "")},
		"global header": {func(w *tar.Writer) {
			_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"path": "x"}})
		}},
		"same name twice":             {put("a", "1"), put("a", "2")},
		"same name by another path":   {put("a", "1"), put("./a", "2")},
		"escape in a name":            {put("a\x1b[2Jb", "1")},
		"newline in a name":           {put("a\nb", "1")},
		"file where a directory is":   {put("a/b", "1"), put("a", "2")},
		"file where a directory must": {put("a", "1"), put("a/b", "2")},
		"directory where a file is":   {put("a", "1"), special(tar.TypeDir, "a/", "")},
		"too deep":                    {put(strings.Repeat("d/", 33)+"f", "")},
		"too long":                    {put(strings.Repeat("d/", 20)+strings.Repeat("n", 1000), "")},
		"too many":                    many(10_001),
		"too many directories": {func(w *tar.Writer) {
			for i := range 10_001 {
				special(tar.TypeDir, fmt.Sprintf("d%d/", i), "")(w)
			}
		}},
		"file over the limit":          {zeros("bomb", 8<<20+1)},
		"files over the limit, summed": {zeros("a", 8<<20), zeros("b", 8<<20), put("c", "1")},
		"more after the end":           {func(w *tar.Writer) { _ = w.Close() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base := t.TempDir()
			dir, canary := filepath.Join(base, "out"), filepath.Join(base, "canary")
			if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(canary, []byte("safe"), 0o600)); err != nil {
				t.Fatal(err)
			}
			var data bytes.Buffer
			build(&data, parts...)
			if name == "more after the end" {
				data.Write(make([]byte, 2<<20))
			}
			_, err := archive.Extract(&data, open(t, dir), limits(), archive.Anyone)
			if !errors.Is(err, archive.ErrRefused) {
				t.Errorf("error is %v, want ErrRefused", err)
			}
			if got, err := os.ReadFile(canary); string(got) != "safe" {
				t.Errorf("canary holds %q, %v", got, err)
			}
			if names, err := filepath.Glob(filepath.Join(base, "*")); len(names) != 2 {
				t.Errorf("beside the directory are %v, %v", names, err)
			}
		})
	}
}

// Two GiB of zeros in two MiB: what does not fit is not even unpacked.
func TestExtractStopsBomb(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		gz := gzip.NewWriter(w)
		build(gz, zeros("bomb", 2<<30))
		_ = w.CloseWithError(gz.Close())
	}()
	gz, err := gzip.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	_, err = archive.Extract(gz, open(t, t.TempDir()), limits(), archive.Owner)
	_ = r.Close()
	<-done
	if !errors.Is(err, archive.ErrRefused) {
		t.Errorf("error is %v, want ErrRefused", err)
	}
}

func TestExtract(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		access archive.Access
		want   map[string]string
	}{
		"owner": {archive.Owner, map[string]string{
			".": "drwx------", "a": "drwxr-xr-x", "a/b": "drwxr-xr-x", "a/b/link": "L../../s", "a/b/text": "-rw-r--r--", "empty": "drwxr-xr-x", "s": "-rwxr-xr-x",
		}},
		"anyone": {archive.Anyone, map[string]string{
			".": "drwx------", "a": "drwxrwxrwx", "a/b": "drwxrwxrwx", "a/b/link": "L../../s", "a/b/text": "-rw-rw-rw-", "empty": "drwxrwxrwx", "s": "-rwxrwxrwx",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var data bytes.Buffer
			build(&data, special(tar.TypeDir, "./", ""), special(tar.TypeDir, "empty/", ""), put("./a/b/text", "hello"), special(tar.TypeSymlink, "a/b/link", "../../s"),
				func(w *tar.Writer) { // set-user-id, no read permission
					_ = w.WriteHeader(&tar.Header{Name: "s", Mode: 0o6311, Size: 1, Typeflag: tar.TypeReg})
					_, _ = w.Write([]byte("x"))
				})
			dir := filepath.Join(t.TempDir(), "out")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			stats, err := archive.Extract(&data, open(t, dir), limits(), tt.access)
			if err != nil {
				t.Fatal(err)
			}
			if want := (archive.Stats{Files: 3, Bytes: 6}); stats != want {
				t.Errorf("stats are %v, want %v", stats, want)
			}
			if diff := cmp.Diff(tt.want, list(t, dir)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The end of the reader is where a digest is checked, so Extract has to get there.
func TestExtractReadsToTheEnd(t *testing.T) {
	t.Parallel()
	wrong := errors.New("wrong digest")
	data := io.MultiReader(bytes.NewReader(pack(t, regular("a", "1"))), bytes.NewReader(make([]byte, 10<<10)), failing{wrong})
	if _, err := archive.Extract(data, open(t, t.TempDir()), limits(), archive.Owner); !errors.Is(err, wrong) {
		t.Errorf("error is %v, want %v", err, wrong)
	}
}

func TestExtractSeesTruncation(t *testing.T) {
	t.Parallel()
	data := pack(t, regular("a", strings.Repeat("1", 5000)))
	_, err := archive.Extract(bytes.NewReader(data[:3000]), open(t, t.TempDir()), limits(), archive.Owner)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error is %v, want unexpected EOF", err)
	}
}

func TestSpoolLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	dir, wrong := t.TempDir(), errors.New("wrong")
	_, err := archive.Spool(dir, func(io.Writer) (archive.Stats, error) { return archive.Stats{}, wrong })
	if !errors.Is(err, wrong) {
		t.Errorf("error is %v, want %v", err, wrong)
	}
	if names, err := os.ReadDir(dir); len(names) != 0 {
		t.Errorf("%v is left, %v", names, err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func list(t *testing.T, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if got[name] = info.Mode().String(); info.Mode().Type() == fs.ModeSymlink {
			target, err := os.Readlink(filepath.Join(dir, name))
			got[name] = "L" + target
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}
