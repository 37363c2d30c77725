package workspace_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/millrace-cd/millrace/pkg/archive"
	"github.com/millrace-cd/millrace/pkg/workspace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func openCache(t *testing.T, dir string) *workspace.Cache {
	t.Helper()
	c, err := workspace.Open(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// tarOf packs files (name → content, or "-> target" for a link).
func tarOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var entries []archive.Entry
	for name, text := range files {
		e := archive.Entry{Path: name, Size: int64(len(text)), Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }}
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			e = archive.Entry{Path: name, Link: target}
		}
		entries = append(entries, e)
	}
	var out bytes.Buffer
	if _, err := archive.Pack(&out, entries, archive.Source()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func source(tar []byte) func(context.Context) (io.ReadCloser, error) {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(tar)), nil }
}

func digestOf(n int) string { return fmt.Sprintf("sha256:%064x", n) }

func treeOf(t *testing.T, c *workspace.Cache, n int, files map[string]string) *workspace.Tree {
	t.Helper()
	tree, err := c.Tree(t.Context(), digestOf(n), false, source(tarOf(t, files)))
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestTreeIsUnpackedOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tar := tarOf(t, map[string]string{"a": "1"})
	var fetched atomic.Int32
	fetch := func(context.Context) (io.ReadCloser, error) {
		fetched.Add(1)
		return source(tar)(t.Context())
	}
	c := openCache(t, dir)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := c.Tree(t.Context(), digestOf(1), false, fetch); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	tree, err := openCache(t, dir).Tree(t.Context(), digestOf(1), false, fetch) // another process
	if err != nil {
		t.Fatal(err)
	}
	if got := fetched.Load(); got != 1 {
		t.Errorf("fetched %d times, want once", got)
	}
	if data, err := tree.ReadFile("a", 10); string(data) != "1" {
		t.Errorf("a holds %q, %v", data, err)
	}
}

// Two processes that begin at once both end with the whole tree.
func TestTreeByTwoProcesses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tar := tarOf(t, map[string]string{"a": "1"})
	both := make(chan struct{})
	var arrived atomic.Int32
	fetch := func(context.Context) (io.ReadCloser, error) {
		if arrived.Add(1) == 2 {
			close(both)
		}
		<-both
		return source(tar)(t.Context())
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			tree, err := openCache(t, dir).Tree(t.Context(), digestOf(1), false, fetch)
			if err != nil {
				t.Error(err)
				return
			}
			if data, err := tree.ReadFile("a", 10); string(data) != "1" {
				t.Errorf("a holds %q, %v", data, err)
			}
		})
	}
	wg.Wait()
	wantNames(t, filepath.Join(dir, "trees"), fmt.Sprintf("%064x", 1))
}

func TestTreeIsWholeOrNotThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := openCache(t, dir)
	tar := tarOf(t, map[string]string{"a": "1", "b": strings.Repeat("2", 5000)})
	wrong := errors.New("wrong digest")
	for name, tt := range map[string]struct {
		fetch func(context.Context) (io.ReadCloser, error)
		want  error
	}{
		"no fetch": {func(context.Context) (io.ReadCloser, error) { return nil, wrong }, wrong},
		"wrong at end": {func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(bytes.NewReader(tar), failing{wrong})), nil
		}, wrong},
		"cut off": {source(tar[:2000]), io.ErrUnexpectedEOF},
	} {
		if _, err := c.Tree(t.Context(), digestOf(1), false, tt.fetch); !errors.Is(err, tt.want) {
			t.Errorf("%s: error is %v, want %v", name, err, tt.want)
		}
		wantNames(t, filepath.Join(dir, "trees"))
	}
	treeOf(t, c, 1, map[string]string{"a": "1"})
}

// Who waits for another's unpacking does not fail because that one was told to stop.
func TestTreeSurvivesSomebodyElsesEnd(t *testing.T) {
	t.Parallel()
	c := openCache(t, t.TempDir())
	tar := tarOf(t, map[string]string{"a": "1"})
	first, stop := context.WithCancel(t.Context())
	began := make(chan struct{})
	var calls atomic.Int32
	fetch := func(ctx context.Context) (io.ReadCloser, error) {
		if calls.Add(1) == 1 {
			close(began)
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return io.NopCloser(bytes.NewReader(tar)), nil
	}
	done := make(chan error, 2)
	go func() {
		_, err := c.Tree(first, digestOf(1), false, fetch)
		done <- err
	}()
	<-began
	go func() {
		_, err := c.Tree(t.Context(), digestOf(1), false, fetch)
		done <- err
	}()
	stop()
	if a, b := <-done, <-done; (a == nil) == (b == nil) || !errors.Is(errors.Join(a, b), context.Canceled) {
		t.Errorf("errors are %v and %v, want one to be canceled", a, b)
	}
}

func TestTreeOfEarlierBoot(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"earlier": "1 2c2b6a7d", "cut off": "", "garbage": "\x00\x00"} {
		dir := t.TempDir()
		c := openCache(t, dir)
		treeOf(t, c, 1, map[string]string{"a": "1"})
		if err := os.WriteFile(filepath.Join(dir, "trees", fmt.Sprintf("%064x", 1), "complete"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		tree := treeOf(t, c, 1, map[string]string{"a": "2"})
		if data, err := tree.ReadFile("a", 10); string(data) != "2" {
			t.Errorf("%s: a holds %q, %v; it should have been unpacked again", name, data, err)
		}
	}
}

func TestReadFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tree := treeOf(t, openCache(t, dir), 1, map[string]string{"a/b": "12345", "link": "-> a/b", "dangling": "-> none"})
	outside := filepath.Join(dir, "trees", fmt.Sprintf("%064x", 1), "tree", "outside")
	if err := os.Symlink("/etc/passwd", outside); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{"a/b": nil, "link": nil, "none": os.ErrNotExist, "dangling": os.ErrNotExist, "a": archive.ErrRefused} {
		if _, err := tree.ReadFile(name, 5); !errors.Is(err, want) {
			t.Errorf("%s: error is %v, want %v", name, err, want)
		}
	}
	for _, name := range []string{"outside", "../complete", "/etc/passwd"} {
		if data, err := tree.ReadFile(name, 1000); err == nil {
			t.Errorf("%s: got %q, want an error", name, data)
		}
	}
	if _, err := tree.ReadFile("a/b", 4); !errors.Is(err, archive.ErrRefused) {
		t.Errorf("error is %v, want ErrRefused for a file that is too large", err)
	}
}

func TestOpenMapsEngineNames(t *testing.T) {
	t.Parallel()
	c, err := workspace.Open(t.TempDir(), "/var/lib/engine/")
	if err != nil {
		t.Fatal(err)
	}
	v := viewOf(t, treeOf(t, c, 1, map[string]string{"a": "1"}), "one")
	want := fmt.Sprintf("lowerdir=/var/lib/engine/trees/%064x/tree,upperdir=/var/lib/engine/views/one/upper,workdir=/var/lib/engine/views/one/work,", 1)
	if got := v.Options(); !strings.HasPrefix(got, want) {
		t.Errorf("options are %s, want %s…", got, want)
	}
	for _, dir := range []string{"relative", "/a:b", "/a,b", `/a\b`} {
		if _, err := workspace.Open(t.TempDir(), dir); err == nil {
			t.Errorf("%q was accepted", dir)
		}
	}
}

func TestViewNames(t *testing.T) {
	t.Parallel()
	tree := treeOf(t, openCache(t, t.TempDir()), 1, map[string]string{"a": "1"})
	viewOf(t, tree, "shop-1-test-unit.1")
	for _, name := range []string{"", ".", "..", "../x", "a/b", "A", "-a", ".a", "shop-1-test-unit.1"} {
		if _, err := tree.View(name); err == nil {
			t.Errorf("%q was accepted", name)
		}
	}
}

func viewOf(t *testing.T, tree *workspace.Tree, name string) *workspace.View {
	t.Helper()
	v, err := tree.View(name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%s holds %v, want %v", dir, got, want)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
