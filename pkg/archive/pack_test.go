package archive_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/millrace-cd/millrace/pkg/archive"
)

func regular(name, content string) archive.Entry {
	return archive.Entry{Path: name, Size: int64(len(content)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(content)), nil
	}}
}

func symlink(name, target string) archive.Entry { return archive.Entry{Path: name, Link: target} }

func pack(t *testing.T, entries ...archive.Entry) []byte {
	t.Helper()
	var out bytes.Buffer
	if _, err := archive.Pack(&out, entries, archive.Source()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestPackListsWhatItWrote(t *testing.T) {
	t.Parallel()
	tool := regular("bin/tool", "hello\n")
	tool.Executable = true
	var out bytes.Buffer
	got, err := archive.Pack(&out, []archive.Entry{tool, regular("a.txt", "hello\n"), symlink("bin/alias", "tool")}, archive.Artifact())
	if err != nil {
		t.Fatal(err)
	}
	want := []archive.File{
		{Path: "a.txt", Digest: "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03", Size: 6, Mode: "0644"},
		{Path: "bin/alias", Mode: "0777", Link: "tool"},
		{Path: "bin/tool", Digest: "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03", Size: 6, Mode: "0755"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got, want := archive.Count(got), (archive.Stats{Files: 3, Bytes: 12}); got != want {
		t.Errorf("count is %v, want %v", got, want)
	}
}

func TestSameTreeHasSameBytes(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("directory/", 20) + "näme"
	a := pack(t, regular("a-b", "1"), regular("a/b", "2"), regular(long, "3"), symlink("z", "a/b"))
	b := pack(t, symlink("z", "a/b"), regular(long, "3"), regular("a/b", "2"), regular("a-b", "1"))
	if !bytes.Equal(a, b) {
		t.Error("the order of the entries changed the tar")
	}
}

// The digest of a tree must not change with a new version of this package or of
// Go: stored blobs and verdicts are found by it.
func TestBytesStayTheSame(t *testing.T) {
	t.Parallel()
	tool := regular("bin/tool", "#!/bin/sh\n")
	tool.Executable = true
	tree, err := archive.Spool(t.TempDir(), func(w io.Writer) (archive.Stats, error) {
		files, err := archive.Pack(w, []archive.Entry{tool, regular(strings.Repeat("ü", 200), "x"), symlink("l", "bin/tool")}, archive.Source())
		return archive.Count(files), err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tree.Remove() })
	const want = "sha256:91e9c8c377d90eaba87661ce67ac0f3851e93f396205db869ca006a4f7f0fb19"
	if tree.Digest != want {
		t.Errorf("digest is %s, want %s", tree.Digest, want)
	}
	if got, want := tree.Stats, (archive.Stats{Files: 3, Bytes: 11}); got != want {
		t.Errorf("stats are %v, want %v", got, want)
	}
}

func TestPackRefuses(t *testing.T) {
	t.Parallel()
	small := archive.Limits{FileBytes: 4, TotalBytes: 6, Entries: 3, PathBytes: 10, Depth: 2, Links: true}
	no := small
	no.Links = false
	for name, tt := range map[string]struct {
		limits  archive.Limits
		entries []archive.Entry
		want    string
	}{
		"parent":            {small, []archive.Entry{regular("../a", "")}, "not relative and clean"},
		"absolute":          {small, []archive.Entry{regular("/a", "")}, "not relative and clean"},
		"unclean":           {small, []archive.Entry{regular("a//b", "")}, "not relative and clean"},
		"empty":             {small, []archive.Entry{regular("", "")}, "not relative and clean"},
		"root":              {small, []archive.Entry{regular(".", "")}, "not relative and clean"},
		"newline":           {small, []archive.Entry{regular("a\nb", "")}, "control characters"},
		"escape":            {small, []archive.Entry{regular("a\x1b[2J", "")}, "control characters"},
		"C1 control":        {small, []archive.Entry{regular("a\u009b", "")}, "control characters"},
		"not UTF-8":         {small, []archive.Entry{regular("a\xff", "")}, "not UTF-8"},
		"long name":         {small, []archive.Entry{regular("12345678901", "")}, "name of 11 bytes"},
		"deep":              {small, []archive.Entry{regular("a/b/c/d", "")}, "2 directories deep"},
		"twice":             {small, []archive.Entry{regular("a", ""), regular("a", "")}, "twice"},
		"under a file":      {small, []archive.Entry{regular("a", ""), regular("a-b", ""), regular("a/b", "")}, `"a" is no directory`},
		"under a link":      {small, []archive.Entry{symlink("a", "b"), regular("a/b", "")}, `"a" is no directory`},
		"large file":        {small, []archive.Entry{regular("a", "12345")}, "5 bytes, the limit of a file is 4"},
		"large tree":        {small, []archive.Entry{regular("a", "1234"), regular("b", "123")}, "limit of 6 bytes"},
		"many":              {small, []archive.Entry{regular("a", ""), regular("b", ""), regular("c", ""), regular("d", "")}, "more than 3 entries"},
		"link not allowed":  {no, []archive.Entry{symlink("a", "b")}, "a symbolic link"},
		"absolute link":     {small, []archive.Entry{symlink("a", "/etc")}, "leads out"},
		"link out":          {small, []archive.Entry{symlink("a/b", "../../c")}, "leads out"},
		"link climbs later": {small, []archive.Entry{symlink("a/b", "c/../..")}, "climbs after its start"},
		"long link":         {small, []archive.Entry{symlink("a", "12345678901")}, "target of 11 bytes"},
		"link with newline": {small, []archive.Entry{symlink("a", "b\nc")}, "control characters"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := archive.Pack(io.Discard, tt.entries, tt.limits)
			if !errors.Is(err, archive.ErrRefused) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want one that is ErrRefused and says %q", err, tt.want)
			}
		})
	}
}

func TestWriterWantsSortedEntries(t *testing.T) {
	t.Parallel()
	w := archive.NewWriter(io.Discard, archive.Source())
	if err := w.Add(regular("b", "")); err != nil {
		t.Fatal(err)
	}
	if err := w.Add(regular("a", "")); !errors.Is(err, archive.ErrRefused) {
		t.Errorf("error is %v, want ErrRefused", err)
	}
}

// A file that changes while it is packed is nobody's fault but has to be seen.
func TestPackSeesChangedSize(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int64{"shrank": 4, "grew": 2} {
		e := regular("a", "123")
		e.Size = size
		_, err := archive.Pack(io.Discard, []archive.Entry{e}, archive.Source())
		if err == nil || errors.Is(err, archive.ErrRefused) {
			t.Errorf("%s: error is %v, want one that is not ErrRefused", name, err)
		}
	}
}

// Whatever Pack accepts, Extract puts where it belongs.
func TestPackedTreeComesBack(t *testing.T) {
	t.Parallel()
	names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-c]{1,2}(/[a-c.]{1,3}){0,4}`), 1, 8, rapid.ID[string])
	rapid.Check(t, func(r *rapid.T) {
		var entries []archive.Entry
		for _, name := range names.Draw(r, "names") {
			entries = append(entries, regular(name, name))
		}
		var out bytes.Buffer
		files, err := archive.Pack(&out, entries, archive.Source())
		if err != nil {
			return
		}
		dir := t.TempDir()
		root := open(t, dir)
		if _, err := archive.Extract(&out, root, archive.Source(), archive.Owner); err != nil {
			r.Fatal(err)
		}
		for _, f := range files {
			if got, err := os.ReadFile(filepath.Join(dir, f.Path)); string(got) != f.Path {
				r.Fatalf("%s holds %q, %v", f.Path, got, err)
			}
		}
	})
}
