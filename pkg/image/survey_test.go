package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/millrace-cd/millrace/pkg/archive"
)

func size(n int) string { return strings.Repeat("x", n) }

func stacked(t testing.TB, layers ...*Layer) v1.Image {
	t.Helper()
	img, err := Assemble(Scratch(), layers, settings)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func survey(t *testing.T, s *Surveyor, layers ...*Layer) Survey {
	t.Helper()
	got, err := s.Survey(t.Context(), stacked(t, layers...))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestSurvey(t *testing.T) {
	t.Parallel()
	base := pack(t,
		dir("bin"), file("bin/busybox", size(900)), hardlink("bin/sh", "bin/busybox"), symlink("bin/wget", "busybox"),
		file("./opt/a/b/deep", size(800)), file("/opt/old", size(700)), file("opt/changed", size(600)), file("srv/x", size(500)), file("srv/y", size(400)),
		file("was/file/under", size(350)), file("lib/so", size(300)),
	)
	middle := pack(t, file("opt/.wh.a", ""), file("srv/.wh..wh..opq", ""), file("srv/new", size(50)), file("was", size(40)))
	top := pack(t, file("opt/changed", size(60)), dir("opt/old"), file("bin/.wh.wget", ""), dir("lib"))
	got := survey(t, NewSurveyor(), base, middle, top)
	want := []File{{"bin/busybox", 900}, {"lib/so", 300}, {"opt/changed", 60}, {"srv/new", 50}, {"was", 40}}
	if diff := cmp.Diff(want, got.Largest); diff != "" {
		t.Error(diff)
	}
	if want := int64(900 + 800 + 700 + 600 + 500 + 400 + 350 + 300 + 50 + 40 + 60); got.Bytes != want {
		t.Errorf("%d bytes, want %d", got.Bytes, want)
	}
	for file, want := range map[string]bool{
		"/bin/sh": true, "bin/sh": true, "/bin/../bin/sh": true, "/bin/busybox": true, "/bin/wget": false, "/opt/a/b/deep": false, "/srv/x": false, "/srv/new": true, "/was": true, "/was/file/under": false,
		"/bin/nc": false, "/lib/so": true, "/": false, "": false,
	} {
		if got.Has(file) != want {
			t.Errorf("%s is there: %t, want %t", file, !want, want)
		}
	}
}

func TestSurveyKeepsTheLargest(t *testing.T) {
	t.Parallel()
	var entries []tar.Header
	for i := range 500 {
		entries = append(entries, file(fmt.Sprintf("f%d", i), size((i*7919)%500)))
	}
	got := survey(t, NewSurveyor(), pack(t, entries...))
	if len(got.Largest) != largest || got.Largest[0].Size != 499 || got.Largest[largest-1].Size != 490 {
		t.Errorf("largest are %v", got.Largest)
	}
}

// Tools are often links, in directories that are links.
func TestSurveyFollowsLinks(t *testing.T) {
	t.Parallel()
	base := pack(t,
		symlink("bin", "usr/bin"), symlink("sbin", "/usr/sbin"), dir("usr"), dir("usr/bin"), file("usr/bin/dash", "x"), symlink("usr/bin/sh", "dash"),
		symlink("usr/bin/nc", "/etc/alternatives/nc"), symlink("etc/alternatives/nc", "/bin/nc.openbsd"), file("usr/bin/nc.openbsd", "x"),
		symlink("usr/bin/curl", "../lib/curl/curl"), symlink("usr/bin/wget", "wget"), symlink("usr/bin/awk", "../../../../usr/bin/dash"),
	)
	got := survey(t, NewSurveyor(), base)
	for file, want := range map[string]bool{
		"/bin/sh": true, "/usr/bin/sh": true, "/bin/nc": true, "/bin/curl": false, "/bin/wget": false, "/bin/awk": true, "/sbin/sh": false,
	} {
		if got.Has(file) != want {
			t.Errorf("%s is there: %t, want %t", file, !want, want)
		}
	}
	without := survey(t, NewSurveyor(), base, pack(t, file("usr/bin/.wh.nc.openbsd", "")))
	if without.Has("/bin/nc") || !without.Has("/bin/sh") {
		t.Error("a link to what is gone leads somewhere")
	}
}

// counted counts how often it is read.
type counted struct {
	*Layer

	mu sync.Mutex
	n  int
}

func (c *counted) Uncompressed() (io.ReadCloser, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return c.Layer.Uncompressed()
}

func TestSurveyorRemembers(t *testing.T) {
	t.Parallel()
	s, base := NewSurveyor(), &counted{Layer: pack(t, file("app", size(100)))}
	img, err := mutate.AppendLayers(Scratch(), base)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got, err := s.Survey(t.Context(), img); err != nil || got.Bytes != 100 || !got.Has("app") {
			t.Errorf("survey is %v, %v", got, err)
		}
	}
	if base.n != 1 {
		t.Errorf("the layer was read %d times", base.n)
	}
	var all sync.WaitGroup
	for i := range maxKnown + 10 { // more than it remembers
		all.Go(func() { s.remember(v1.Hash{Hex: fmt.Sprint(i)}, &found{}) })
	}
	all.Wait()
	if len(s.known) != maxKnown || len(s.order) != maxKnown {
		t.Errorf("it remembers %d layers in %d places", len(s.known), len(s.order))
	}
}

// claimed says of itself that it is another layer.
type claimed struct {
	*Layer

	diffID v1.Hash
}

func (c claimed) DiffID() (v1.Hash, error) { return c.diffID, nil }

func TestSurveyRefuses(t *testing.T) {
	t.Parallel()
	honest := pack(t, file("app", size(100)))
	for name, l := range map[string]v1.Layer{
		"another layer": claimed{pack(t, file("app", "x")), honest.diffID},
		"a way out":     pack(t, file("../app", "x")),
		"a long name":   pack(t, file(size(maxName+1), "x")),
	} {
		s := NewSurveyor()
		img, err := mutate.AppendLayers(Scratch(), l)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Survey(t.Context(), img); !errors.Is(err, archive.ErrRefused) {
			t.Errorf("%s: error is %v, want ErrRefused", name, err)
		}
		if len(s.known) != 0 {
			t.Errorf("%s: it is remembered", name)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := NewSurveyor().Survey(ctx, stacked(t, honest)); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want that it was stopped", err)
	}
}

func TestSurveyHasLimits(t *testing.T) {
	t.Parallel()
	if err := (&found{entries: maxEntries}).add(&tar.Header{Name: "a", Typeflag: tar.TypeDir}); !errors.Is(err, archive.ErrRefused) {
		t.Errorf("error is %v, want ErrRefused", err)
	}
	if err := (&found{}).file("a", &tar.Header{Typeflag: tar.TypeReg, Size: maxTar + 1}); !errors.Is(err, archive.ErrRefused) {
		t.Errorf("error is %v, want ErrRefused", err)
	}
	if _, err := io.Copy(io.Discard, &limited{r: strings.NewReader("hello"), left: 4}); !errors.Is(err, archive.ErrRefused) {
		t.Errorf("error is %v, want ErrRefused", err)
	}
}
