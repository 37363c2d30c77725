package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/millrace-cd/millrace/pkg/archive"
)

var created = time.Unix(1_700_000_000, 0)

func normalize(t testing.TB, data []byte, o Options) ([]byte, error) {
	t.Helper()
	o.Dir = t.TempDir()
	var out bytes.Buffer
	err := Normalize(&out, bytes.NewReader(data), o)
	if left, err := os.ReadDir(o.Dir); len(left) != 0 {
		t.Errorf("%v is left, %v", left, err)
	}
	return out.Bytes(), err
}

// listed is a tar as lines: kind, name, target, mode, owner, time, what else, content.
func listed(t testing.TB, data []byte) (lines []string) {
	t.Helper()
	in := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%c %s %s %o %d:%d %d %s%s%s%s %s", h.Typeflag, h.Name, h.Linkname, h.Mode, h.Uid, h.Gid,
			h.ModTime.Unix()-created.Unix(), h.Uname, h.Gname, h.PAXRecords[capability], h.PAXRecords["SCHILY.xattr.user.x"], content)))
	}
}

func at(h tar.Header, seconds int64) tar.Header {
	h.ModTime = created.Add(time.Duration(seconds) * time.Second)
	return h
}

func TestNormalize(t *testing.T) {
	t.Parallel()
	tool := at(file("usr/bin/tool", "content"), 100)
	tool.Mode, tool.Uid, tool.Gid, tool.Gname = 0o104755, 1000, 3_000_000, "users"
	tool.AccessTime, tool.ChangeTime, tool.Format = created.Add(time.Hour), created.Add(time.Hour), tar.FormatPAX
	tool.PAXRecords = map[string]string{capability: "cap", "SCHILY.xattr.user.x": "x"}
	fifo := tar.Header{Name: "run/pipe", Typeflag: tar.TypeFifo, Mode: 0o600, ModTime: created}
	data := archived(t, at(dir("."), 5), at(dir("./usr"), 100), tool, at(file("a.txt", "old"), -3600), at(dir("a"), -10), at(file("a/x", "1"), 1), fifo,
		at(symlink("lib", "/usr/lib"), 7), at(file("-early", ""), 0), at(file("-gone/.wh.-x", ""), 3), at(file("-gone/-x", ""), 3), at(file("z/.wh..wh..opq", ""), 3),
		at(file("z/.wh..wh.plnk", ""), 3), at(file(strings.Repeat("n", 200), ""), 3), at(file("a.txt", "new"), -3600))
	got, err := normalize(t, data, Options{Created: created})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"0 -early  755 0:0 0",
		"0 -gone/.wh.-x  755 0:0 0",
		"0 -gone/-x  755 0:0 0",
		"5 a/  755 0:0 -10",
		"0 a.txt  755 0:0 -3600  new",
		"0 a/x  755 0:0 0  1",
		"2 lib /usr/lib 777 0:0 0",
		"0 " + strings.Repeat("n", 200) + "  755 0:0 0",
		"6 run/pipe  600 0:0 0",
		"5 usr/  755 0:0 0",
		"0 usr/bin/tool  4755 1000:3000000 0 cap content",
		"0 z/.wh..wh..opq  755 0:0 0",
	}
	if diff := cmp.Diff(want, listed(t, got)); diff != "" {
		t.Error(diff)
	}
	if again, err := normalize(t, got, Options{Created: created}); err != nil || !bytes.Equal(again, got) {
		t.Errorf("normalized again it is another one, %v", err)
	}
	h, _, err := v1.SHA256(bytes.NewReader(got))
	const digest = "sha256:7870ea7d24aa968a393c32bbd5b2b1eadba227d7aecb5603622e5a1736493fa6"
	if err != nil || h.String() != digest {
		t.Errorf("digest is %s, %v, want %s as on other days and machines", h, err, digest)
	}
}

// The same files, made on another day in another order, have the same bytes.
func TestNormalizeForgetsTheDay(t *testing.T) {
	t.Parallel()
	one, err := normalize(t, archived(t, at(dir("a"), 100), at(file("a/x", "1"), 101), at(file("a/y", "2"), 102)), Options{Created: created})
	if err != nil {
		t.Fatal(err)
	}
	other, err := normalize(t, archived(t, at(dir("a"), 9100), at(file("a/y", "2"), 9101), at(file("a/x", "1"), 9102)), Options{Created: created})
	if err != nil || !bytes.Equal(one, other) {
		t.Errorf("they differ, %v:\n%s", err, cmp.Diff(listed(t, one), listed(t, other)))
	}
}

// The content of a file with several names comes with the first of them.
func TestNormalizeHardLinks(t *testing.T) {
	t.Parallel()
	for name, entries := range map[string][]tar.Header{
		"before":   {file("b", "content"), hardlink("c", "b"), hardlink("a", "/b")},
		"a chain":  {file("c", "content"), hardlink("b", "c"), hardlink("a", "b")},
		"in order": {file("a", "content"), hardlink("b", "./a"), hardlink("c", "a")},
	} {
		got, err := normalize(t, archived(t, entries...), Options{Created: created})
		if err != nil {
			t.Fatal(err)
		}
		want := []string{
			fmt.Sprintf("0 a  755 0:0 %d  content", -created.Unix()), fmt.Sprintf("1 b a 755 0:0 %d", -created.Unix()), fmt.Sprintf("1 c a 755 0:0 %d", -created.Unix()),
		}
		if diff := cmp.Diff(want, listed(t, got)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	got, err := normalize(t, archived(t, hardlink("a", "below"), hardlink("b", "c"), hardlink("c", "b")), Options{})
	if err != nil || len(listed(t, got)) != 3 { // to a lower layer, and in a circle
		t.Errorf("got %q, %v", listed(t, got), err)
	}
}

// More than is kept in memory.
func TestNormalizeManyBytes(t *testing.T) {
	t.Parallel()
	var entries []tar.Header
	for i := range 9 {
		entries = append(entries, file(fmt.Sprintf("f%d", 9-i), strings.Repeat(fmt.Sprint(i), keptOfMany/4)))
	}
	got, err := normalize(t, archived(t, entries...), Options{Created: created})
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range listed(t, got) {
		if want := strings.Repeat(fmt.Sprint(8-i), keptOfMany/4); !strings.HasSuffix(line, " "+want) {
			t.Errorf("content of %.20s is another file's", line)
		}
	}
}

func TestNormalizeDrops(t *testing.T) {
	t.Parallel()
	data := archived(t, dir("etc"), file("etc/hosts", "x"), file("etc/hosts.allow", "x"), file("etc/.wh.resolv.conf", ""), file(".dockerenv", ""), dir("dev"), dir("dev/pts"),
		dir("proc"), dir("sys"), file("run/secrets/key", "x"), file("run/app", "x"), file("artifact/app", "x"), file("etc/.wh..wh..opq", ""), file("sysroot", "x"),
		dir("usr"), dir("usr/sbin"), file("usr/sbin/docker-init", ""), dir("sbin"), file("sbin/docker-init", ""), dir("opt"), dir("opt/empty"), dir("sbin/x"), dir("sbin/x/y"))
	got, err := normalize(t, data, Options{Created: created, Drop: func(p string) bool { return p == "artifact" || EngineOwned(p) }})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, line := range listed(t, got) {
		names = append(names, strings.Fields(line)[1])
	}
	if diff := cmp.Diff([]string{"etc/", "etc/.wh..wh..opq", "etc/hosts.allow", "opt/", "opt/empty/", "run/app", "sbin/", "sbin/x/", "sbin/x/y/", "sysroot"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestNormalizeRefuses(t *testing.T) {
	t.Parallel()
	special := func(kind byte) tar.Header { return tar.Header{Name: "x", Typeflag: kind, Devmajor: 1, Linkname: "y"} }
	for name, h := range map[string]tar.Header{
		"a block device": special(tar.TypeBlock), "a device": special(tar.TypeChar), "an unknown type": special('Z'),
		"a way out": file("a/../../x", ""), "a long name": file(size(maxName+1), ""), "a link out": hardlink("x", "../y"), "a long link": symlink("x", size(maxName+1)),
		"an empty link": symlink("x", ""),
	} {
		if _, err := normalize(t, archived(t, h), Options{}); !errors.Is(err, archive.ErrRefused) {
			t.Errorf("%s: error is %v, want ErrRefused", name, err)
		}
	}
	n := &normalization{entries: map[string]*entry{}, content: &spool{}}
	if err := n.add(&tar.Header{Name: "x", Typeflag: tar.TypeGNUSparse, Size: maxTar + 1}, strings.NewReader("")); !errors.Is(err, archive.ErrRefused) {
		t.Errorf("error is %v, want ErrRefused", err)
	}
	for i := range maxEntries {
		n.entries[fmt.Sprint(i)] = nil
	}
	if err := n.add(&tar.Header{Name: "x", Typeflag: tar.TypeDir}, nil); !errors.Is(err, archive.ErrRefused) {
		t.Errorf("error is %v, want ErrRefused", err)
	}
	if _, err := normalize(t, archived(t, file("x", size(2000)))[:1500], Options{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error is %v, want unexpected EOF", err)
	}
}

func FuzzNormalize(f *testing.F) {
	f.Add(archived(f, dir("a"), file("a/b", "content"), symlink("c", "a"), hardlink("d", "a/b"), file("a/.wh.x", "")))
	f.Add(archived(f, file(strings.Repeat("a/", 100)+"b", "x"))[:700])
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, err := normalize(t, data, Options{Created: created, Drop: EngineOwned}); err == nil {
			again, err := normalize(t, got, Options{Created: created, Drop: EngineOwned})
			if err != nil || !bytes.Equal(got, again) {
				t.Errorf("normalized again it is another one, %v", err)
			}
		}
	})
}
