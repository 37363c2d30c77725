package embedded

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/event"
)

// released is how a delivery goes that is not deployed.
const released = "test:succeeded build:succeeded release:succeeded"

// recipe is an app whose release is made as text says; it has the artifact dist/app and
// dist/lib/words, and is accepted where it serves what check greps for.
func recipe(text, check string, files ...string) func(dir string) {
	file := strings.NewReplacer("RECIPE", text, "CHECK", check).Replace(`version: 1
name: page
defaults: { image: "busybox:1.37" }
test:
  unit: { run: "true" }
build:
  run: mkdir -p dist/lib && echo words > dist/lib/words && printf '#!/bin/sh\nexec httpd -f -p 8080 -h /srv\n' > dist/app && chmod +x dist/app && ln -s words dist/lib/link
  artifacts: [dist/**]
  platforms: [linux/amd64, linux/arm64]
release:
  image: page
RECIPE
  entrypoint: [/srv/app]
  ready: { http: ":8080/app", within: 20s }
  acceptance:
    page: { run: "CHECK" }
`)
	return func(dir string) {
		for i, text := range append([]string{"millrace.yaml", file}, files...) {
			if i%2 == 1 {
				continue
			}
			path := filepath.Join(dir, text)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(append([]string{"", file}, files...)[i+1]), 0o644)); err != nil {
				panic(err)
			}
		}
	}
}

// An installation runs in the base, offline, with nothing but the artifact; what it
// changed is one layer, below the files, and the same for the same commit.
func TestImageInstall(t *testing.T) {
	w := start(t, "busybox:1.37")
	install := `  base: busybox:1.37
  install:
    - if touch /artifact/dist/new; then exit 9; fi
    - test "$(ls /sys/class/net)" = lo
    - test "$(id -u)" = 0
    - mkdir -p /srv && cp -R /artifact/dist/. /srv/
    - echo $SOURCE_DATE_EPOCH > /srv/epoch; echo replaced > /srv/words
    - rm /bin/cal
  files: { dist/lib/words: /srv/words }`
	ok := recipe(install, "for f in words lib/link; do wget -q -O - http://app:8080/$f | grep -qx words; done")
	c := repository(t, "page", ok)
	facts := w.deliver(c)
	one := facts[len(facts)-1]
	if path(facts) != released {
		t.Fatalf("%s: %s", path(facts), one.Reason)
	}
	if first := one.Acceptance[0]; first.Name != "install" || first.Result != event.ResultSuccess || first.Seconds == 0 {
		t.Errorf("got %+v", one.Acceptance)
	}
	if got := w.logOf("release", one.Number, "install"); !strings.Contains(got, "+ cp -R /artifact/dist/. /srv/\n") {
		t.Errorf("the log says %q", got)
	}
	img := w.image(one.Image)
	got := files(t, layers(t, img, 2)[0])
	want := []string{"bin/ 755", "bin/.wh.cal 0", "srv/ 755", "srv/app 755", "srv/epoch 644", "srv/lib/ 755", "srv/lib/link 777", "srv/lib/words 644", "srv/words 644"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the layer has other files: %s", diff)
	}
	if got := files(t, layers(t, img, 2)[1]); !slices.Equal(got, []string{"srv/words 644"}) {
		t.Errorf("the second layer has %q", got)
	}
	config, err := img.ConfigFile()
	if err != nil || config.Config.Healthcheck == nil || !strings.Contains(config.Config.Healthcheck.Test[3], "wget -q -O /dev/null 'http://127.0.0.1:8080/app'") {
		t.Errorf("health check %+v, %v", config.Config.Healthcheck, err)
	}
	c.Fresh = true
	facts = w.deliver(c)
	if two := facts[len(facts)-1]; two.Image != one.Image || path(facts) != released || two.Acceptance[0].Name != "install" {
		t.Errorf("the same commit gave %s after %s: %s %+v", two.Image, one.Image, two.Reason, two.Acceptance)
	}
	bad := recipe("  base: busybox:1.37\n  install: [mkdir /srv, pip install /artifact/dist, touch /never]", "true")
	facts = w.deliver(again(t, c, bad))
	last := facts[len(facts)-1]
	for _, want := range []string{"release.install: `pip install /artifact/dist` exited with 127\nits last lines:", "pip: not found"} {
		if path(facts) != failsRelease || !strings.Contains(last.Reason, want) || last.Attempt != 1 {
			t.Errorf("%s at attempt %d, want a reason with %q: %s", path(facts), last.Attempt, want, last.Reason)
		}
	}
	if len(last.Acceptance) != 1 || last.Acceptance[0].Result != event.ResultFailure || last.Acceptance[0].ExitCode != 127 {
		t.Errorf("got %+v", last.Acceptance)
	}
	w.nothingMade()
}

const madeOf = `# escape=\
ARG TAG=1.37
FROM busybox:${TAG} AS make
ARG TARGETARCH
ARG GREETING
RUN mkdir /srv && \
    echo "$GREETING on $TARGETARCH" > /srv/greeting && date > /srv/when && rm /srv/when && \
    if [ -e /millrace.yaml ]; then exit 9; fi && test "$(ls /sys/class/net)" = lo
COPY artifact/dist/ /srv/
COPY --from=busybox:1.37 /bin/busybox /srv/busybox

FROM BUSYBOX AS unused
FROM busybox:1.37
ENV WHAT=made
COPY --from=make /srv /srv
ENTRYPOINT ["/bin/false"]
HEALTHCHECK --interval=7s CMD true
`

// A Dockerfile is built of pinned images, offline, with nothing but the artifact for a
// context; its image is the same for the same commit, and gets the settings of the file.
func TestImageDockerfile(t *testing.T) {
	w := start(t, "busybox:1.37")
	made := strings.Replace(madeOf, "FROM BUSYBOX AS unused\n", "FROM make AS unused\n", 1)
	how := "  dockerfile: { file: deploy/Dockerfile, args: { GREETING: \"hello ${app}\" } }\n  labels: { team: us }\n  user: 0"
	ok := recipe(how, "wget -q -O - http://app:8080/greeting | grep -x 'hello page on .*'", "deploy/Dockerfile", made, "deploy/secret", "not for the image")
	c := repository(t, "page", ok)
	facts := w.deliver(c)
	one := facts[len(facts)-1]
	if path(facts) != released {
		t.Fatalf("%s: %s", path(facts), one.Reason)
	}
	if got := w.logOf("release", one.Number, "dockerfile"); !strings.Contains(got, "deploy/Dockerfile:6: RUN mkdir /srv") || strings.Contains(got, "LABEL") || strings.Contains(got, "--->") {
		t.Errorf("the log says %q", got)
	}
	img := w.image(one.Image)
	if got := files(t, layers(t, img, 1)[0]); !slices.Contains(got, "srv/app 755") || !slices.Contains(got, "srv/lib/link 777") || slices.Contains(got, "srv/when 644") {
		t.Errorf("the layer has %q", got)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	run := config.Config
	if !slices.Equal(run.Entrypoint, []string{"/srv/app"}) || run.Labels["team"] != "us" || !slices.Contains(run.Env, "WHAT=made") || run.User != "0" || run.Healthcheck.Interval.Seconds() == 7 {
		t.Errorf("configuration %+v", run)
	}
	if text := fmt.Sprint(config); strings.Contains(text, "millrace.session") {
		t.Errorf("the image tells of its build: %s", text)
	}
	c.Fresh = true
	facts = w.deliver(c)
	if two := facts[len(facts)-1]; two.Image != one.Image || path(facts) != released || two.Acceptance[0].Name != "dockerfile" {
		t.Errorf("the same commit gave %s after %s: %s %+v", two.Image, one.Image, two.Reason, two.Acceptance)
	}
	for name, tt := range map[string]struct{ text, stage, reason string }{
		"command": {"FROM busybox:1.37\n\nRUN echo no such package >&2; exit 3\n", failsRelease, "release.dockerfile: deploy/Dockerfile:3: RUN echo no such package >&2; exit 3: exited with 3\nits last lines:\n"},
		"source":  {"FROM busybox:1.37\nCOPY deploy/secret /\n", failsRelease, "deploy/Dockerfile:2: COPY deploy/secret /: COPY failed: "},
		"unknown": {"FROM busybox:$NOBODY\n", "test:failed", "deploy/Dockerfile:1: FROM busybox:$NOBODY: $NOBODY is not known here"},
		"address": {"FROM busybox:1.37\nADD https://example.com/x /\n", "test:failed", "deploy/Dockerfile:2: ADD https://example.com/x: the engine would fetch it"},
	} {
		facts := w.deliver(again(t, c, recipe(how, "true", "deploy/Dockerfile", tt.text)))
		if last := facts[len(facts)-1]; path(facts) != tt.stage || !strings.Contains(last.Reason, tt.reason) || last.Attempt != 1 {
			t.Errorf("%s: %s at attempt %d: %s; want %q", name, path(facts), last.Attempt, last.Reason, tt.reason)
		}
	}
	w.nothingMade()
}

// A release for several platforms is an index; this engine accepts its own.
func TestImagePlatforms(t *testing.T) {
	w := start(t, "busybox:1.37")
	change := []string{
		"PORT", "8080", "  artifacts: [dist/**]", "  artifacts: [dist/**]\n  platforms: [linux/amd64, linux/arm64]",
		"cp /bin/busybox dist/", "cp /bin/busybox dist/ && echo $TARGETARCH > dist/www/arch", "grep -q .\"", "grep -q . && wget -q -O - http://app:8080/arch | grep -qx amd64\"",
		"  base: scratch", "  base: scratch\n  platforms: [linux/arm64, linux/amd64]",
	}
	c := repository(t, "page", page("one", change...))
	facts := w.deliver(c)
	last := facts[len(facts)-1]
	if path(facts) != delivered {
		t.Fatalf("%s: %s", path(facts), last.Reason)
	}
	r, err := name.ParseReference(last.Image, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(r)
	if err != nil {
		t.Fatalf("%s is no index: %v", last.Image, err)
	}
	m, err := index.IndexManifest()
	if err != nil || len(m.Manifests) != 2 {
		t.Fatalf("%+v, %v", m, err)
	}
	for i, want := range []string{"amd64", "arm64"} {
		img, err := index.Image(m.Manifests[i].Digest)
		if err != nil {
			t.Fatal(err)
		}
		config, err := img.ConfigFile()
		if err != nil || config.Architecture != want || m.Manifests[i].Platform.Architecture != want {
			t.Errorf("image %d is for %s, and called %s: %v", i, config.Architecture, m.Manifests[i].Platform, err)
		}
		if got := content(t, layers(t, img, 1)[0], "www/arch"); got != want+"\n" {
			t.Errorf("the image for %s has the artifact of %s", want, got)
		}
	}
	bad := slices.Clone(change)
	bad[len(bad)-1] = "  base: busybox:1.37\n  platforms: [linux/arm64, linux/amd64]"
	facts = w.deliver(again(t, c, page("two", bad...)))
	if last := facts[len(facts)-1]; path(facts) != failsRelease || !strings.Contains(last.Reason, "base busybox:1.37 is for linux/amd64 alone") {
		t.Errorf("%s: %s", path(facts), last.Reason)
	}
}

// A base of a registry is pinned for all platforms, and its layers are taken as they are:
// under files, an installation and a Dockerfile. The latter two have a network if they
// ask for it.
func TestImageBaseOfRegistry(t *testing.T) {
	w := start(t, "busybox:1.37")
	ref := w.Registry + "/base/busybox:1"
	lowest := w.pushIndex(ref)
	c := event.Commit{}
	for name, tt := range map[string]struct {
		text, step string
	}{
		"files":      {"  base: " + ref + "\n  platforms: [linux/amd64, linux/arm64]\n  files: { dist/: /srv/ }", "page"},
		"install":    {"  base: " + ref + "\n  platforms: [linux/amd64]\n  install: [cp -R /artifact/dist /srv, ls /sys/class/net/eth0]\n  install_network: true", "install"},
		"dockerfile": {"  dockerfile: { file: Dockerfile, args: { BASE: " + ref + " }, network: true }", "dockerfile"},
	} {
		write := recipe(tt.text, "wget -q -O - http://app:8080/lib/words | grep -qx words", "Dockerfile", "ARG BASE\nFROM $BASE\nCOPY artifact/dist /srv\nRUN ls /sys/class/net/eth0\n")
		if c.App == "" {
			c = repository(t, "page", write)
		} else {
			c = again(t, c, write)
		}
		facts := w.deliver(c)
		last := facts[len(facts)-1]
		if path(facts) != released || last.Acceptance[0].Name != tt.step || !strings.HasPrefix(last.Images[ref], w.Registry+"/base/busybox@sha256:") {
			t.Errorf("%s: %s %+v %v: %s", name, path(facts), last.Acceptance, last.Images, last.Reason)
			continue
		}
		img := w.image(last.Image) // of an index that of this machine
		if all, err := img.Layers(); err != nil || len(all) < 2 {
			t.Errorf("%s: layers %v, %v", name, all, err)
		} else if got, _ := all[0].Digest(); got != lowest {
			t.Errorf("%s: the lowest layer is %s, want %s of the base", name, got, lowest)
		}
		if len(last.SBOMs) == 0 {
			t.Errorf("%s: no bill of materials", name)
		}
	}
}

// pushIndex stores the busybox for two platforms, and gives the digest of its layer.
func (w world) pushIndex(ref string) v1.Hash {
	w.t.Helper()
	saved, err := w.Engine.Save(w.t.Context(), "busybox:1.37")
	if err != nil {
		w.t.Fatal(err)
	}
	data, err := io.ReadAll(saved)
	if err = errors.Join(err, saved.Close()); err != nil {
		w.t.Fatal(err)
	}
	img, err := tarball.Image(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		w.t.Fatal(err)
	}
	other := config.DeepCopy()
	other.Architecture = "arm64"
	arm, err := mutate.ConfigFile(img, other)
	if err != nil {
		w.t.Fatal(err)
	}
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: arm, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}})
	r, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := remote.WriteIndex(r, index); err != nil {
		w.t.Fatal(err)
	}
	digest, err := layers(w.t, img, 1)[0].Digest()
	if err != nil {
		w.t.Fatal(err)
	}
	return digest
}

// An image that is too large says what takes the room.
func TestImageMaxSize(t *testing.T) {
	w := start(t, "busybox:1.37")
	limit := func(size string) func(string) {
		return page("one", "PORT", "8080", "  base: scratch", "  base: scratch\n  max_size: "+size)
	}
	c := repository(t, "page", limit("64Ki"))
	facts := w.deliver(c)
	last := facts[len(facts)-1]
	for _, want := range []string{"MiB of files, and release.max_size is 64 KiB; the largest are:\n", "MiB  /busybox\n", "4 bytes  /www/index.html"} {
		if path(facts) != failsRelease || !strings.Contains(last.Reason, want) {
			t.Errorf("%s, want a reason with %q: %s", path(facts), want, last.Reason)
		}
	}
	if facts = w.deliver(again(t, c, limit("1Gi"))); path(facts) != delivered {
		t.Errorf("%s: %s", path(facts), facts[len(facts)-1].Reason)
	}
}

// logOf is what a step printed.
func (w world) logOf(stage string, number uint64, step string) (text string) {
	w.t.Helper()
	err := w.Bus.Read(w.t.Context(), bus.Logs, []string{fmt.Sprintf("log.%s.page.%d.%s", stage, number, step)}, func(e bus.Entry) error {
		text += string(e.Data)
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

// image is one of the registry's.
func (w world) image(ref string) v1.Image {
	w.t.Helper()
	r, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		w.t.Fatal(err)
	}
	img, err := remote.Image(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return img
}

// nothingMade wants nothing to be kept of the images that were made on the engine.
func (w world) nothingMade() {
	w.t.Helper()
	kept, err := filepath.Glob(filepath.Join(w.dir, "data", "images", "*"))
	if err != nil || len(kept) != 1 { // the base, which only the engine has
		w.t.Errorf("kept %q, %v", kept, err)
	}
	temporary, err := filepath.Glob(filepath.Join(w.dir, "data", "tmp", "*"))
	if err != nil || len(temporary) > 0 {
		w.t.Errorf("left %q, %v", temporary, err)
	}
}

// layers are the last n of an image.
func layers(t *testing.T, img v1.Image, n int) []v1.Layer {
	t.Helper()
	all, err := img.Layers()
	if err != nil || len(all) < n {
		t.Fatalf("%d layers, %v", len(all), err)
	}
	return all[len(all)-n:]
}

// files lists a layer's entries, with their modes.
func files(t *testing.T, l v1.Layer) (names []string) {
	t.Helper()
	each(t, l, func(h *tar.Header, _ io.Reader) { names = append(names, fmt.Sprintf("%s %o", h.Name, h.Mode)) })
	return names
}

func content(t *testing.T, l v1.Layer, name string) (text string) {
	t.Helper()
	each(t, l, func(h *tar.Header, r io.Reader) {
		if h.Name == name {
			data, err := io.ReadAll(r)
			if text = string(data); err != nil {
				t.Fatal(err)
			}
		}
	})
	return text
}

func each(t *testing.T, l v1.Layer, do func(*tar.Header, io.Reader)) {
	t.Helper()
	r, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		do(h, in)
	}
}
