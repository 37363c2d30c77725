package releaser

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/millrace-cd/millrace/pkg/archive"
	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/dockerfile"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/image"
	"github.com/millrace-cd/millrace/pkg/pipeline"
	"github.com/millrace-cd/millrace/pkg/stage"
	"github.com/millrace-cd/millrace/pkg/workspace"
)

func TestTargets(t *testing.T) {
	amd, arm := event.Blob{Digest: "sha256:1"}, event.Blob{Digest: "sha256:2"}
	b := event.Built{Artifact: amd, Platforms: map[string]event.Blob{"linux/amd64": amd, "linux/arm64": arm}}
	for name, tt := range map[string]struct {
		platforms []string
		runs      string
		want      []target
		reason    string
	}{
		"none":             {nil, "install", []target{{"linux/amd64", false, amd}}, ""},
		"own":              {[]string{"linux/amd64"}, "install", []target{{"linux/amd64", true, amd}}, ""},
		"several":          {[]string{"linux/arm64", "linux/amd64"}, "", []target{{"linux/arm64", true, arm}, {"linux/amd64", true, amd}}, ""},
		"not built":        {[]string{"linux/amd64", "linux/386"}, "", nil, "the build made no artifact for linux/386; add it to build.platforms"},
		"not this engine":  {[]string{"linux/arm64"}, "", nil, "accepted on this engine, which runs linux/amd64"},
		"install other":    {[]string{"linux/amd64", "linux/arm64"}, "install", nil, "linux/arm64: release.install runs on this engine, which is linux/amd64"},
		"dockerfile other": {[]string{"linux/amd64", "linux/arm64"}, "dockerfile", nil, "release.dockerfile runs on this engine"},
	} {
		got, err := targetsOf(b, "linux/amd64", tt.platforms, tt.runs)
		if tt.reason != "" {
			if outcome, _ := stage.Outcome(err); outcome != event.Failed || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("%s: got %v, want %q", name, err, tt.reason)
			}
			continue
		}
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, tt.want)
		}
	}
}

// grown is an image with more random layers.
func grown(t *testing.T, base v1.Image, layers int) v1.Image {
	t.Helper()
	for range layers {
		l, err := random.Layer(100, "application/vnd.docker.image.rootfs.diff.tar.gzip")
		if err != nil {
			t.Fatal(err)
		}
		if base, err = mutate.AppendLayers(base, l); err != nil {
			t.Fatal(err)
		}
	}
	return base
}

// What an installation changed is the one layer that the base does not have.
func TestAbove(t *testing.T) {
	base := grown(t, empty.Image, 2)
	one := grown(t, base, 1)
	all, err := one.Layers()
	if err != nil {
		t.Fatal(err)
	}
	want, _ := all[2].DiffID()
	if got, err := above(one, base); err != nil {
		t.Error(err)
	} else if is, _ := got.DiffID(); is != want {
		t.Errorf("got %s, want %s", is, want)
	}
	if got, err := above(base, base); got != nil || err != nil {
		t.Errorf("nothing was changed: got %v, %v", got, err)
	}
	for name, img := range map[string]v1.Image{"too many": grown(t, base, 2), "too few": empty.Image, "others": grown(t, empty.Image, 3)} {
		if got, err := above(img, base); err == nil {
			t.Errorf("%s: got %v, want an error", name, got)
		}
	}
}

// The marks of a build are in its image no more, and nothing else is missing.
func TestUnmarked(t *testing.T) {
	labels := map[string]string{"millrace.session": "abc/1", "millrace.app": "shop"}
	config, err := grown(t, empty.Image, 1).ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.Config.Labels = map[string]string{"millrace.session": "abc/1", "millrace.app": "shop", "team": "us"}
	layer := config.History[0]
	mine := v1.History{CreatedBy: "/bin/sh -c #(nop) LABEL team=us", EmptyLayer: true}
	config.History = []v1.History{{CreatedBy: "/bin/sh -c #(nop)  LABEL millrace.app=shop millrace.session=abc/1", EmptyLayer: true}, layer, mine}
	img, err := mutate.ConfigFile(grown(t, empty.Image, 0), config)
	if err != nil {
		t.Fatal(err)
	}
	img, err = unmarked(img, labels)
	if err != nil {
		t.Fatal(err)
	}
	got, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]any{map[string]string{"team": "us"}, []v1.History{layer, mine}}, []any{got.Config.Labels, got.History}); diff != "" {
		t.Error(diff)
	}
}

func TestTail(t *testing.T) {
	last := &tail{}
	for i := range 40 {
		_, _ = fmt.Fprintf(last, "line %d\n\n", i)
	}
	for _, part := range []string{"+ make ", "install", "\r\n++ inner\nno ", "\xffrule\n", strings.Repeat("x", 10_000), "y\nend"} {
		if n, err := last.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	lines := strings.Split(last.String(), "\n")
	if len(lines) != 2+tailLines || lines[1] != "its last lines:" || lines[2] != "  line 25" && !strings.HasPrefix(lines[2], "  line") || lines[len(lines)-1] != "  end" || lines[len(lines)-3] != "  no rule" {
		t.Errorf("got %q", lines)
	}
	if last.command != "make install" || len(lines[len(lines)-2]) != 2+lineBytes {
		t.Errorf("got %q and a line of %d bytes", last.command, len(lines[len(lines)-2]))
	}
	if got := (&tail{}).String(); got != "" {
		t.Errorf("got %q of nothing", got)
	}
}

func TestFits(t *testing.T) {
	found := image.Survey{Bytes: 3 << 20, Largest: []image.File{{Path: "usr/lib/big", Size: 2<<20 + 512<<10}, {Path: "app", Size: 512 << 10}, {Path: "x", Size: 3}}}
	for _, limit := range []int64{0, 3 << 20, 1 << 30} {
		if err := fits(found, limit); err != nil {
			t.Errorf("%d: %v", limit, err)
		}
	}
	err := fits(found, 1<<20)
	want := "the image has 3 MiB of files, and release.max_size is 1 MiB; the largest are:\n     2.5 MiB  /usr/lib/big\n     512 KiB  /app\n     3 bytes  /x"
	if outcome, _ := stage.Outcome(err); outcome != event.Failed || err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

// A HEALTHCHECK can be put on an image that has all else, and changes nothing else.
func TestHealthcheckIsAdded(t *testing.T) {
	created := time.Unix(1_700_000_000, 0)
	layer, err := image.Compress("", func(w io.Writer) error { return tar.NewWriter(w).Close() })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = layer.Close() }()
	before, err := image.Assemble(image.Scratch(), []*image.Layer{layer}, image.Settings{
		OS: "linux", Architecture: "arm64", Entrypoint: []string{"/app"}, Command: []string{"x"}, Env: map[string]string{"A": "b"}, Labels: map[string]string{"l": "1"}, Created: created,
	})
	if err != nil {
		t.Fatal(err)
	}
	check, reason := image.Healthcheck(probeOf(pipeline.Probe{HTTP: ":80/"}), func(string) bool { return true })
	if reason != "" {
		t.Fatal(reason)
	}
	after, err := image.Assemble(before, nil, image.Settings{Healthcheck: check, Created: created})
	if err != nil {
		t.Fatal(err)
	}
	was, err := before.ConfigFile()
	is, err2 := after.ConfigFile()
	m, err3 := after.Manifest()
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	was = was.DeepCopy()
	was.Config.Healthcheck = check
	if diff := cmp.Diff(was, is); diff != "" || m.Annotations["l"] != "1" || len(m.Layers) != 1 {
		t.Errorf("%s %+v", diff, m)
	}
}

// The context of a Dockerfile is the artifact with its directories, and nothing of it
// leads out.
func TestContext(t *testing.T) {
	var raw bytes.Buffer
	_, err := archive.Pack(&raw, []archive.Entry{
		{Path: "dist/a/x", Size: 1, Executable: true, Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("x")), nil }},
		{Path: "dist/a/link", Link: "x"},
		{Path: "dist/b", Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("")), nil }},
	}, archive.Artifact())
	if err != nil {
		t.Fatal(err)
	}
	trees, err := workspace.Open(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	spool, err := archive.Spool(t.TempDir(), func(w io.Writer) (archive.Stats, error) { _, err := w.Write(raw.Bytes()); return archive.Stats{}, err })
	if err != nil {
		t.Fatal(err)
	}
	tree, err := trees.Tree(t.Context(), spool.Digest, false, func(context.Context) (io.ReadCloser, error) { return spool.Open() })
	if err != nil {
		t.Fatal(err)
	}
	view, err := tree.View("context")
	if err != nil {
		t.Skip(err) // no overlays where the test runs
	}
	defer func() { _ = view.Remove() }()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := errors.Join((&recipe{artifact: view}).context(w), w.Close()); err != nil {
		t.Fatal(err)
	}
	var got []string
	for in := tar.NewReader(&out); ; {
		h, err := in.Next()
		if err != nil {
			break
		}
		got = append(got, fmt.Sprintf("%s %o %s%d", h.Name, h.Mode, h.Linkname, h.ModTime.Unix()))
	}
	want := []string{"artifact/ 755 0", "artifact/dist/ 755 0", "artifact/dist/a/ 755 0", "artifact/dist/a/link 644 x0", "artifact/dist/a/x 755 0", "artifact/dist/b 644 0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A failed build is told by the file's own line, also where ours are between.
func TestBuildFailure(t *testing.T) {
	r := &recipe{
		making: &making{release: pipeline.Release{Dockerfile: &pipeline.Dockerfile{File: "Dockerfile"}}},
		lines:  []dockerfile.Line{{Number: 1, Text: "FROM a"}, {}, {Number: 4, Text: "RUN make"}},
	}
	for n, want := range map[int]string{0: "", 1: "Dockerfile:1: FROM a", 2: "", 3: "Dockerfile:4: RUN make", 4: "", 1 << 30: ""} {
		if got := r.begins(n); got != want {
			t.Errorf("instruction %d: got %q, want %q", n, got, want)
		}
	}
	r.at = 3
	for want, end := range map[string]container.Built{
		"":                                      {},
		"Dockerfile:4: RUN make: exited with 2": {Exit: container.Exit{Code: 2}, Reason: "The command '/bin/sh -c make' returned a non-zero code: 2"},
		"Dockerfile:4: RUN make: COPY failed":   {Reason: "COPY failed"},
		"Dockerfile:4: RUN make: stopped after 30m0s":                                                         {Exit: container.Exit{TimedOut: true}},
		"Dockerfile:4: RUN make: it was killed, perhaps since it used more memory than the limit of 2048 MiB": {Exit: container.Exit{Code: 137}, Reason: "x"},
	} {
		if got := r.failure(end); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestNotInstalled(t *testing.T) {
	for name, want := range map[string]bool{"artifact": true, "run/millrace": true, "run/secrets": true, "etc/hosts": true, ".dockerenv": true, "artifacts": false, "run": false, "etc/passwd": false, "srv/artifact": false} {
		if got := notInstalled(name); got != want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}

func TestInstallFailure(t *testing.T) {
	for want, tt := range map[string]struct {
		exit    container.Exit
		command string
	}{
		"":                           {container.Exit{}, "make"},
		"`make` exited with 2":       {container.Exit{Code: 2}, "make"},
		"exited with 2":              {container.Exit{Code: 2}, ""},
		"`make` stopped after 30m0s": {container.Exit{TimedOut: true, Code: 137}, "make"},
		"`make` killed: it used more memory than the limit of 2048 MiB":                {container.Exit{OOM: true, Code: 137}, "make"},
		"the base image has no /bin/sh to run commands in; use files, or another base": {container.Exit{Code: 127}, ""},
	} {
		if got := installFailure(tt.exit, tt.command); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
