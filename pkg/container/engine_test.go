package container

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"

	"github.com/millrace-cd/millrace/pkg/standin"
)

var making sync.Mutex

const shellImage = "millrace-test/shell:1"

// connect is an engine with an instance of the test's own. At the end of the test
// nothing of the instance may be left.
func connect(t testing.TB, change ...func(*Config)) *Engine {
	t.Helper()
	cfg := Config{Instance: "test-" + random(4), Warm: -1, Trouble: func(err error) { t.Errorf("trouble: %v", err) }}
	for _, c := range change {
		c(&cfg)
	}
	e, err := Connect(t.Context(), cfg)
	if err != nil {
		t.Skipf("no engine to test on: %v", err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		mustLeaveNothing(t, cfg.Instance)
	})
	making.Lock() // tests that begin together would make it several times
	defer making.Unlock()
	if _, err := standin.Make(t.Context(), e, shellImage, testWriter{t}); err != nil {
		t.Fatal(err)
	}
	return e
}

// testWriter logs lines.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) { w.t.Log(string(b)); return len(b), nil }

// mustLeaveNothing removes what a test left on the engine, and is red about it.
func mustLeaveNothing(t testing.TB, instance string) {
	t.Helper()
	e, err := Connect(context.Background(), Config{Instance: instance, Warm: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	filter := labelled(labelInstance, instance)
	ctx := context.Background()
	containers, err := e.api.ContainerList(ctx, container.ListOptions{All: true, Filters: filter})
	for _, c := range containers {
		t.Errorf("left: container %s %v", c.Names, c.Labels)
		_ = e.remove(ctx, c.ID)
	}
	networks, err2 := e.api.NetworkList(ctx, network.ListOptions{Filters: filter})
	for _, n := range networks {
		t.Errorf("left: network %s %v", n.Name, n.Labels)
		_ = e.removeNetwork(ctx, n.ID)
	}
	volumes, err3 := e.api.VolumeList(ctx, volume.ListOptions{Filters: filter})
	for _, v := range volumes.Volumes {
		t.Errorf("left: volume %s %v", v.Name, v.Labels)
		_ = e.RemoveVolume(ctx, v.Name)
	}
	if err != nil || err2 != nil || err3 != nil {
		t.Error(err, err2, err3)
	}
}

func open(t testing.TB, e *Engine, net Network) *Session {
	t.Helper()
	s, err := e.Open(t.Context(), Owner{App: "shop", Delivery: 7, Stage: "test"}, SessionOptions{Network: net})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

// run runs one step of the shell image and returns its output.
func run(t testing.TB, s *Session, spec Step) (string, Exit) {
	t.Helper()
	var out bytes.Buffer
	exit, err := s.Step(t.Context(), shell(spec)).Run(t.Context(), &out)
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	return out.String(), exit
}

func shell(spec Step) Step {
	if spec.Name == "" {
		spec.Name = "unit"
	}
	if spec.Image == "" {
		spec.Image = shellImage
	}
	return spec
}

// overlay is a fresh view over a directory with the file greeting.
func overlay(t testing.TB) *Overlay {
	t.Helper()
	dir := t.TempDir()
	o := &Overlay{Lower: filepath.Join(dir, "lower"), Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work")}
	for _, d := range []string{o.Lower, o.Upper, o.Work} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(o.Lower, "greeting"), []byte("hello\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestConnectSaysWhatToDo(t *testing.T) {
	t.Parallel()
	_, err := Connect(t.Context(), Config{Instance: "x", Host: "unix:///nowhere/docker.sock"})
	if err == nil || !strings.Contains(err.Error(), "unix:///nowhere/docker.sock") || !strings.Contains(err.Error(), "systemctl start docker") {
		t.Errorf("got %v, want the socket and the fix", err)
	}
	if _, err = Connect(t.Context(), Config{Instance: "Not A Label"}); err == nil {
		t.Error("got no error for a bad instance")
	}
}

func TestStep(t *testing.T) {
	t.Parallel()
	e := connect(t)
	s := open(t, e, Outside)
	for name, test := range map[string]struct {
		step Step
		out  string
		code int
	}{
		"output, both streams in order": {step: Step{Run: []string{"echo a; echo b >&2; echo c"}}, out: "a\nb\nc\n"},
		"lines run one after another":   {step: Step{Run: []string{"x=1", "echo $x"}}, out: "1\n"},
		"no newline at the end":         {step: Step{Run: []string{"printf abc"}}, out: "abc"},
		"no output":                     {step: Step{Run: []string{"true"}}},
		"exit code":                     {step: Step{Run: []string{"echo x; exit 3"}}, out: "x\n", code: 3},
		"exit code 255 of its own":      {step: Step{Run: []string{"exit 255"}}, code: 255},
		"first failing line ends it":    {step: Step{Run: []string{"false", "echo not reached"}}, code: 1},
		"no such command":               {step: Step{Run: []string{"nosuch 2>/dev/null"}}, code: 127},
		"killed by a signal":            {step: Step{Run: []string{"kill -9 $$"}}, code: 137},
		"kills its gate":                {step: Step{Run: []string{`printf 'x\036'; kill -9 $PPID; sleep 9`}}, out: "x\x1e", code: 137},
		"kills process 1":               {step: Step{Run: []string{"kill -9 1; echo alive"}}, out: "alive\n"},
		"leaves a process behind":       {step: Step{Run: []string{"sleep 100 & echo x"}}, out: "x\n"},
		"reads no input":                {step: Step{Run: []string{"cat; echo end"}}, out: "end\n"},
		"environment":                   {step: Step{Run: []string{`echo "$A|$B"`}, Env: map[string]string{"A": "1 2", "B": "x=y\nz"}}, out: "1 2|x=y\nz\n"},
		"the gate leaves no variables":  {step: Step{Run: []string{"env | grep -iE 'tini|millrace' || true"}}},
		"user":                          {step: Step{Run: []string{"id -u"}, User: "65534"}, out: "65534\n"},
		"working directory":             {step: Step{Run: []string{"pwd"}, Workdir: "/tmp"}, out: "/tmp\n"},
		"no network":                    {step: Step{Run: []string{"ip -o addr | grep -c inet"}}, out: "1\n"},
		"a network":                     {step: Step{Run: []string{"ip -o addr | grep -c inet"}, Network: true}, out: "2\n"},
		"another shell":                 {step: Step{Run: []string{"echo $0 a; exit 4"}, Shell: []string{"/bin/ash", "-c"}}, out: "/bin/ash a\n", code: 4},
		"ungated, no newline":           {step: Step{Run: []string{"printf abc"}, Shell: []string{"/bin/ash", "-c"}}, out: "abc"},
		"strict": {
			step: Step{Run: []string{"id -u; touch /x 2>&1; touch $HOME/x /tmp/x; grep CapEff /proc/self/status"}, Strict: true, Shell: []string{"/bin/sh", "-c"}},
			out:  "1000\ntouch: /x: Read-only file system\nCapEff:\t0000000000000000\n",
		},
		"no new privileges":     {step: Step{Run: []string{"grep NoNewPrivs /proc/self/status"}}, out: "NoNewPrivs:\t1\n"},
		"something like a mark": {step: Step{Run: []string{`printf '\036millrace 0123456789\n\036'`}}, out: "\x1emillrace 0123456789\n\x1e"},
	} {
		t.Run(name, func(t *testing.T) {
			out, exit := run(t, s, test.step)
			if out != test.out || exit.Code != test.code {
				t.Errorf("got %q and exit code %d, want %q and %d", out, exit.Code, test.out, test.code)
			}
			if exit.OOM || exit.TimedOut || exit.Duration <= 0 {
				t.Errorf("got %+v, want neither OOM nor timeout, and a duration", exit)
			}
		})
	}
}

func TestStepAtFault(t *testing.T) {
	t.Parallel()
	e := connect(t)
	s := open(t, e, Outside)
	if err := e.ensurePause(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		step Step
		want string
	}{
		"script":      {Step{Run: []string{strings.Repeat("x", maxScript+1)}}, "invalid step"},
		"environment": {Step{Env: map[string]string{"A=B": ""}}, "invalid step"},
		"mount":       {Step{Mounts: []Mount{{Target: "/proc"}}}, "invalid step"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.Step(t.Context(), shell(test.step)).Run(t.Context(), &bytes.Buffer{})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	t.Run("255 from the engine alone", func(t *testing.T) {
		exit, err := s.Step(t.Context(), shell(Step{Shell: []string{"/bin/ash", "-c"}, Run: []string{"exit 255"}})).Run(t.Context(), &bytes.Buffer{})
		if err == nil {
			t.Errorf("got %+v, want an error: the engine says 255 of what it lost", exit)
		}
	})
	t.Run("no shell", func(t *testing.T) {
		out, exit := run(t, s, Step{Image: pauseImage, Run: []string{"true"}})
		if exit.Code != 127 || !strings.Contains(out, "/bin/sh") {
			t.Errorf("got %q and %d, want 127 and what is missing", out, exit.Code)
		}
	})
}

func TestStepTimeout(t *testing.T) {
	t.Parallel()
	e := connect(t)
	s := open(t, e, Outside)
	for name, test := range map[string]struct {
		step Step
		out  string
		code int
	}{
		"asked to end":    {Step{Run: []string{`trap 'echo bye; exit 5' TERM`, "while :; do sleep 0.05 & wait; done 2>/dev/null"}}, "bye\n", 5},
		"does not listen": {Step{Run: []string{`trap '' TERM`, "echo x; while :; do sleep 1; done"}}, "x\n", 137},
		"ungated":         {Step{Run: []string{"echo x; exec sleep 100"}, Shell: []string{"/bin/ash", "-c"}}, "x\n", 143},
	} {
		t.Run(name, func(t *testing.T) {
			test.step.Timeout, test.step.Grace = 500*time.Millisecond, time.Second
			out, exit := run(t, s, test.step)
			if out != test.out || exit.Code != test.code || !exit.TimedOut {
				t.Errorf("got %q and %+v, want %q and %d", out, exit, test.out, test.code)
			}
		})
	}
}

func TestStepOutOfMemory(t *testing.T) {
	t.Parallel()
	e := connect(t)
	s := open(t, e, Outside)
	for script, code := range map[string]int{
		"head -c 200m /dev/zero | tail >/dev/null":         137,
		"head -c 200m /dev/zero | tail >/dev/null; exit 3": 3,
	} {
		_, exit := run(t, s, Step{Run: []string{script}, Shell: []string{"/bin/sh", "-c"}, Limits: Limits{Memory: 32 << 20}})
		if !exit.OOM || exit.Code != code {
			t.Errorf("%s: got %+v, want OOM and %d", script, exit, code)
		}
	}
}

// The gate sees a kill for want of memory by itself: the engine misses some.
func TestGateTellsOutOfMemory(t *testing.T) {
	t.Parallel()
	e := connect(t)
	s := open(t, e, Outside)
	step := s.Step(t.Context(), shell(Step{Run: []string{"head -c 200m /dev/zero | tail >/dev/null"}, Limits: Limits{Memory: 32 << 20}}))
	<-step.ready
	if err := errors.Join(step.err, step.begin(t.Context())); err != nil {
		t.Fatal(err)
	}
	if got := step.c.follow(&bytes.Buffer{}); !got.ok || got.code != 137 || !got.oom {
		t.Errorf("got %+v, want 137 for want of memory", got)
	}
}
