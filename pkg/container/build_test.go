package container

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// dockerfile is a text from the test's image, with the labels; BEGIN begins another stage.
func dockerfile(lines ...string) func(map[string]string) string {
	return func(labels map[string]string) string {
		var pairs []string
		for name, value := range labels {
			pairs = append(pairs, fmt.Sprintf("%q=%q", name, value))
		}
		begin := "FROM " + shellImage + "\nLABEL " + strings.Join(pairs, " ")
		return strings.ReplaceAll(strings.Join(append([]string{begin}, lines...), "\n")+"\n", "BEGIN", begin)
	}
}

// announce tells instructions by their numbers, but not the labels.
func announce(n int) string {
	if n == 2 {
		return ""
	}
	return fmt.Sprintf("== %d", n)
}

// made runs a build and wants nothing of it to be left.
func made(t *testing.T, s *Session, b Build, use func(image string)) (string, Built) {
	t.Helper()
	var out bytes.Buffer
	b.Name, b.Attempt, b.Begins = "dockerfile", 1, announce
	got, err := s.Build(t.Context(), b, &out, func(_ context.Context, image string) error { use(image); return nil })
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	nothingBuilt(t, s.e)
	return out.String(), got
}

// nothingBuilt wants no image of the instance to be left.
func nothingBuilt(t *testing.T, e *Engine) {
	t.Helper()
	if left, err := e.imagesOf(context.Background(), labelled(labelInstance, e.cfg.Instance)); err != nil || len(left) > 0 {
		t.Errorf("left: images %v, %v", left, err)
	}
}

func never(t *testing.T) func(string) {
	return func(string) { t.Error("a build that failed gave an image") }
}

// A build has its context, its arguments and no network; its image is there while it is
// looked at, and its output has no more than what was run.
func TestBuild(t *testing.T) {
	t.Parallel()
	e := connect(t)
	s := open(t, e, Outside)
	b := Build{
		Dockerfile: dockerfile("ARG WHO", "COPY artifact/ /art/", "RUN cat /art/file; echo \"for $WHO\"; ls /sys/class/net", "RUN echo oops >&2", "BEGIN", "LABEL x=y", "CMD [\"/bin/ls\"]"),
		Args:       map[string]string{"WHO": "me and you"},
		Context: func(w *tar.Writer) error {
			_ = w.WriteHeader(&tar.Header{Name: "artifact/file", Mode: 0o644, Size: 6})
			_, err := io.WriteString(w, "hello\n")
			return err
		},
	}
	var labels map[string]string
	out, got := made(t, s, b, func(id string) {
		img, err := e.inspectImage(t.Context(), id)
		if err != nil || len(img.Cmd) != 1 || img.Cmd[0] != "/bin/ls" {
			t.Errorf("got %+v, %v", img, err)
		}
		labels = img.Labels
		if built, err := e.imagesOf(t.Context(), labelled(labelInstance, e.cfg.Instance, labelKind, kindBuild)); err != nil || len(built) != 8 {
			t.Errorf("%d images with labels on the way, want 8: %v", len(built), err)
		}
	})
	if want := "== 1\n== 3\n== 4\n== 5\nhello\nfor me and you\nlo\n== 6\noops\n== 7\n== 8\n== 9\n== 10\n"; out != want || got.Reason != "" || labels["x"] != "y" {
		t.Errorf("got %q, %+v, labels %v, want %q", out, got, labels, want)
	}
}

// A Dockerfile that fails is no error of ours: the reason is the builder's.
func TestBuildFails(t *testing.T) {
	t.Parallel()
	s := open(t, connect(t), Outside)
	for name, tt := range map[string]struct {
		build        Build
		reason, said string
		code         int
	}{
		"command":    {Build{Dockerfile: dockerfile("RUN true", "RUN echo no such package; exit 3")}, "returned a non-zero code: 3", "no such package\n", 3},
		"file":       {Build{Dockerfile: dockerfile("COPY nowhere /")}, "COPY failed: file not found", "== 3\n", 0},
		"user":       {Build{Dockerfile: dockerfile("USER nobody-here", "RUN true")}, "unable to find user", "== 4\n", 0},
		"syntax":     {Build{Dockerfile: dockerfile("EXPOSE x")}, "Invalid containerPort", "== 3\n", 0},
		"no builder": {Build{Dockerfile: dockerfile("NONSENSE x")}, "unknown instruction: NONSENSE", "", 0},
		"network":    {Build{Dockerfile: dockerfile("RUN ip addr | grep -v LOOPBACK | grep mtu && exit 7; ls /sys/class/net | grep -qx lo && exit 8")}, "non-zero code: 8", "", 8},
		"memory":     {Build{Dockerfile: dockerfile("RUN head -c 200m /dev/zero | tail"), Limits: Limits{Memory: 32 << 20}}, "non-zero code: 137", "", 137},
	} {
		out, got := made(t, s, tt.build, never(t))
		if !strings.Contains(got.Reason, tt.reason) || got.Code != tt.code || !strings.Contains(out, tt.said) {
			t.Errorf("%s: got %+v and %q, want %q", name, got, out, tt.reason)
		}
	}
}

// What the builder says is the Dockerfile's fault, unless the engine is in trouble or has
// lost an image.
func TestBuildBlame(t *testing.T) {
	for message, tt := range map[string]struct {
		code       int
		from, ours bool
	}{
		"COPY failed: no such file": {}, "unable to find user x": {}, "Invalid containerPort: x": {}, "a command failed: no space left on device": {code: 1},
		"pull access denied for x": {from: true, ours: true}, "COPY failed: write /x: no space left on device": {ours: true}, "Build cancelled: context canceled": {ours: true},
	} {
		p := &progress{from: tt.from, failed: &failure{Code: tt.code, Message: message}}
		if got, _, err := p.end(); (err != nil) != tt.ours || !tt.ours && got.Reason != message {
			t.Errorf("%s: got %+v, %v, want an error of ours: %t", message, got, err, tt.ours)
		}
	}
	if _, _, err := (&progress{}).end(); err == nil {
		t.Error("a build without an image succeeded")
	}
}

// With a network, a build is where steps are: it reaches the world, and no container.
func TestBuildNetwork(t *testing.T) {
	t.Parallel()
	s := open(t, connect(t), Outside)
	out, got := made(t, s, Build{Network: true, Dockerfile: dockerfile("RUN ls /sys/class/net")}, func(string) {})
	if !strings.Contains(out, "eth0\n") || got.Reason != "" {
		t.Errorf("got %q, %+v", out, got)
	}
}

func TestBuildTimeout(t *testing.T) {
	t.Parallel()
	s := open(t, connect(t), Outside)
	out, got := made(t, s, Build{Timeout: 5 * time.Second, Dockerfile: dockerfile("RUN echo begin; sleep 100")}, never(t))
	if !got.TimedOut || !strings.Contains(out, "begin") {
		t.Errorf("got %q, %+v", out, got)
	}
}

// What the context or the user of the image says is an error, and nothing stays.
func TestBuildErrors(t *testing.T) {
	t.Parallel()
	e := connect(t)
	s := open(t, e, Outside)
	bad := errors.New("disk full")
	for name, b := range map[string]Build{
		"context": {Dockerfile: dockerfile("COPY . /"), Context: func(*tar.Writer) error { return bad }},
		"use":     {Dockerfile: dockerfile("RUN true")},
	} {
		b.Name, b.Begins = name, announce
		if _, err := s.Build(t.Context(), b, io.Discard, func(context.Context, string) error { return bad }); !errors.Is(err, bad) {
			t.Errorf("%s: got %v, want %v", name, err, bad)
		}
		nothingBuilt(t, e)
	}
	_, err := s.Build(t.Context(), Build{Name: "gone", Begins: announce, Dockerfile: func(map[string]string) string {
		return "FROM 127.0.0.1:1/gone@sha256:" + strings.Repeat("0", 64) + "\n"
	}}, io.Discard, nil)
	if err == nil {
		t.Error("an image that was removed meanwhile is the commit's fault")
	}
}

// A build that is told to stop stops; what a killed process left of one is removed by the
// next.
func TestBuildStops(t *testing.T) {
	t.Parallel()
	e := connect(t)
	s := open(t, e, Outside)
	next, err := Connect(t.Context(), Config{Instance: e.cfg.Instance, Warm: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = next.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := writerFunc(func(p []byte) (int, error) {
		if strings.Contains(string(p), "begin") {
			for _, live := range []bool{true, false} {
				if _, err := next.Reap(ctx, func(string) bool { return live }); err != nil {
					t.Error(err)
				}
				left, err := e.imagesOf(ctx, labelled(labelInstance, e.cfg.Instance))
				if err != nil || (len(left) > 0) != live {
					t.Errorf("the process lives: %t, %d images, %v", live, len(left), err)
				}
			}
			cancel()
		}
		return len(p), nil
	})
	_, err = s.Build(ctx, Build{Name: "stops", Begins: announce, Dockerfile: dockerfile("RUN touch /x", "RUN echo begin; sleep 100")}, out, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	nothingBuilt(t, e)
}

func TestTriggers(t *testing.T) {
	t.Parallel()
	e := connect(t)
	s := open(t, e, Outside)
	made(t, s, Build{Dockerfile: dockerfile("ONBUILD RUN true")}, func(id string) {
		if got, err := e.Triggers(t.Context(), id); err != nil || len(got) != 1 || got[0] != "RUN true" {
			t.Errorf("got %q, %v", got, err)
		}
	})
}
