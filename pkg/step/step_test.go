package step

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/millrace-cd/millrace/pkg/archive"
	"github.com/millrace-cd/millrace/pkg/attest"
	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/bus/bustest"
	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/custody"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/pipeline"
	"github.com/millrace-cd/millrace/pkg/secret"
	"github.com/millrace-cd/millrace/pkg/standin"
	"github.com/millrace-cd/millrace/pkg/telemetry"
	"github.com/millrace-cd/millrace/pkg/workspace"
)

// keys are a tester's.
func keys(t *testing.T) *attest.Holder {
	t.Helper()
	dir := t.TempDir()
	_, err := attest.Init(dir, time.Now(), custody.Tester)
	if err != nil {
		t.Fatal(err)
	}
	holder, err := attest.Open(attest.Config{Dir: dir, Service: custody.Tester})
	if err != nil {
		t.Fatal(err)
	}
	return holder
}

const shell = "millrace-test/shell:1"

// host is an engine, a bus and a place for trees.
type host struct {
	*Runner
	t       *testing.T
	trees   *workspace.Cache
	image   container.Image
	secrets map[string]string // variables that hold secrets
	number  uint64
	stopped bool // the service stops before the steps run
}

func newHost(t *testing.T) *host {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a Docker engine")
	}
	trees := t.TempDir() // to be removed last: sessions let go of their views when the engine closes
	e, err := container.Connect(t.Context(), container.Config{Instance: "step-" + bus.Random(), Warm: -1, Trouble: func(err error) { t.Error(err) }})
	if err != nil {
		t.Skip("no Docker engine:", err)
	}
	t.Cleanup(func() {
		if err := errors.Join(e.Purge(context.Background()), e.Close()); err != nil {
			t.Error(err)
		}
	})
	h := &host{t: t, secrets: map[string]string{}}
	if _, err := standin.Make(t.Context(), e, shell, io.Discard); err != nil {
		t.Fatal(err)
	}
	if h.image, err = e.Resolve(t.Context(), shell, container.PullNever); err != nil {
		t.Fatal(err)
	}
	if h.trees, err = workspace.Open(trees, ""); err != nil {
		t.Fatal(err)
	}
	secrets, err := secret.Open(secret.Config{Data: t.TempDir(), Lookup: func(name string) (string, bool) { v, ok := h.secrets[name]; return v, ok }})
	if err != nil {
		t.Fatal(err)
	}
	h.Runner = &Runner{Bus: bustest.New(t), Engine: e, Secrets: secrets, Verdicts: custody.Clerk{Keys: keys(t)}, Tracer: noop.NewTracerProvider().Tracer(""), TempDir: t.TempDir()}
	return h
}

// files is a tree: contents by path.
type files map[string]string

// run runs the test steps of a pipeline file on a tree as a delivery of its own.
func (h *host) run(tests string, tree files, change ...func(*Group)) []event.Step {
	h.t.Helper()
	results, err := h.tryRun(tests, tree, change...)
	if err != nil {
		h.t.Fatal(err)
	}
	return results
}

func (h *host) tryRun(tests string, tree files, change ...func(*Group)) ([]event.Step, error) {
	h.t.Helper()
	h.number++
	file, err := pipeline.Parse("millrace.yaml", []byte("version: 1\nname: shop\ndefaults: { image: \""+shell+"\" }\ntest:\n"+tests+
		"\nbuild: { run: x, artifacts: [x] }\nrelease: { image: x, base: scratch, files: { x: /x }, acceptance: none }\n"))
	if err != nil {
		h.t.Fatal(err)
	}
	owner := container.Owner{App: "shop", Delivery: h.number, Stage: event.StageTest, Attempt: 1}
	session, err := h.Engine.Open(h.t.Context(), owner, container.SessionOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	defer session.Close(h.t.Context())
	digest, fetch := pack(h.t, tree)
	g := Group{
		Owner: owner, Session: session, Images: map[string]container.Image{shell: h.image}, Tree: digest, FailFast: file.Defaults.FailFast,
		Commit: event.Commit{App: "shop", Number: h.number, Hash: fmt.Sprintf("%040d", h.number)},
		Trees: func(ctx context.Context, shared bool) (*workspace.Tree, error) {
			return h.trees.Tree(ctx, digest, shared, fetch)
		},
	}
	for _, name := range file.TestOrder {
		g.Steps = append(g.Steps, *file.Test[name])
	}
	for _, c := range change {
		c(&g)
	}
	ctx, span := h.Tracer.Start(h.t.Context(), "test")
	defer span.End()
	if h.stopped {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		cancel()
	}
	return h.Run(ctx, g)
}

// A service that stops before all steps ran has no verdict: those that were skipped must
// not look as if they had passed.
func TestStoppedIsNoVerdict(t *testing.T) {
	h := newHost(t)
	h.run("  a: { run: 'true' }", files{"x": "x"}) // makes the tree, so that nothing else notices the stop
	h.stopped = true
	if results, err := h.tryRun("  a: { run: 'true' }", files{"x": "x"}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %s, %v", summary(results), err)
	}
}

func pack(t *testing.T, tree files) (digest string, fetch func(context.Context) (io.ReadCloser, error)) {
	t.Helper()
	var entries []archive.Entry
	for path, content := range tree {
		entries = append(entries, archive.Entry{Path: path, Size: int64(len(content)), Open: func() (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(content)), nil
		}})
	}
	var b bytes.Buffer
	if _, err := archive.Pack(&b, entries, archive.Source()); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b.Bytes())
	return "sha256:" + hex.EncodeToString(sum[:]), func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b.Bytes())), nil
	}
}

// log is what a step printed.
func (h *host) log(step string) string { //nolint:unparam // a step by name, even if it is always a
	h.t.Helper()
	var b strings.Builder
	err := h.Bus.Read(h.t.Context(), bus.Logs, []string{fmt.Sprintf("log.test.shop.%d.%s", h.number, bus.Token(step))}, func(e bus.Entry) error {
		b.Write(e.Data)
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return b.String()
}

func summary(results []event.Step) string {
	var parts []string
	for _, s := range results {
		parts = append(parts, s.Name+":"+s.Result)
	}
	return strings.Join(parts, " ")
}

func TestOrder(t *testing.T) {
	h := newHost(t)
	tests := []struct{ name, steps, want string }{
		{"one fails, the others finish", "  a: { run: exit 3 }\n  b: { run: 'true' }\n  c: { run: 'true', needs: [a] }\n  d: { run: 'true', needs: [b] }", "a:failure b:success c:skip d:success"},
		{"in the order of needs", "  z: { run: 'true', needs: [y] }\n  y: { run: 'true' }", "y:success z:success"},
		{"optional", "  a: { run: exit 1, optional: true }\n  b: { run: 'true', needs: [a] }", "a:failure b:success"},
		{"matrix", "  a: { run: '[ $MATRIX_X = 1 ] || [ $MATRIX_Y = b ]', matrix: { x: [1, 2], y: [a, b] }, exclude: [{ x: 1, y: b }] }", "a[x=1,y=a]:success a[x=2,y=a]:failure a[x=2,y=b]:success"},
		{"user", "  a: { run: '[ $(id -u) = 1000 ] && echo x > new && echo y >> dir/old', user: '1000' }", "a:success"},
		{"shell and place", "  a: { run: '[ \"$PWD\" = /workspace/dir ] && [ -e old ]', workdir: dir }\n  b: { run: 'exit 0; false', shell: [/bin/ash, -c] }", "a:success b:success"},
		{"files are a step's own", "  a: { run: 'echo x > shared' }\n  b: { run: '! [ -e shared ] && grep -q hello README', needs: [a] }", "a:success b:success"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := summary(h.run(tt.steps, files{"README": "hello", "dir/old": "x"})); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	t.Run("fail fast", func(t *testing.T) {
		began := time.Now()
		results := h.run("  a: { run: 'sleep 100' }\n  b: { run: exit 1 }", files{"x": "x"}, func(g *Group) { g.FailFast = true })
		if got := summary(results); got != "a:skip b:failure" || time.Since(began) > 60*time.Second {
			t.Errorf("got %s after %s", got, time.Since(began))
		}
	})
}

func TestReasons(t *testing.T) {
	h := newHost(t)
	tests := []struct{ name, step, want string }{
		{"exit code", "{ run: exit 7 }", "exited with 7"},
		{"timeout", "{ run: sleep 100, timeout: 1s }", "stopped after its timeout of 1s"},
		{"memory", "{ run: 'x=$(head -c 200000000 /dev/zero | tr \"\\\\0\" x); echo ${#x}', resources: { memory: 64Mi } }", "killed: it used more memory than its limit of 64 MiB"},
		{"no report", "{ run: 'true', reports: { junit: junit.xml } }", "reports.junit: "},
		{"service", "{ run: 'true', services: { db: { image: \"" + shell + "\", command: [sh, -c, 'echo no disk left; exec sleep 100'], ready: { tcp: 5432, within: 1s } } } }", "no disk left"},
		{"service ends", "{ run: 'true', services: { db: { image: \"" + shell + "\", command: [sh, -c, 'echo bad password; exit 4'], ready: { tcp: 5432, within: 20s } } } }", "bad password"},
		{"secret not set", "{ run: 'true', secrets: [TOKEN] }", "TOKEN"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			results, err := h.tryRun("  a: "+tt.step, files{"x": "x"})
			got := ""
			if err != nil {
				got = err.Error()
			} else {
				got = results[0].Reason
			}
			if !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q in it", got, tt.want)
			}
		})
	}
}

func TestServices(t *testing.T) {
	h := newHost(t)
	web := `services: { web: { image: "` + shell + `", command: [sh, -c, "mkdir /www; echo hello > /www/index.html; exec httpd -f -p 80 -h /www"], ready: { http: ":80/" } } }`
	results := h.run("  a: { run: 'wget -q -O - http://web/ | grep hello', "+web+" }\n  b: { run: 'wget -q -O - http://web/ | grep hello', network: false, "+web+" }\n  c: { run: '! wget -q -O - http://web/' }", files{"x": "x"})
	if got := summary(results); got != "a:success b:success c:success" {
		t.Errorf("got %s: %v", got, Failure(results))
	}
}

// What fails and then passes is flaky, and its verdict is not kept. What fails at all
// tries has failed.
func TestRetries(t *testing.T) {
	h := newHost(t)
	counter := `n=$(cat /c/n 2>/dev/null || echo 0); echo $((n+1)) > /c/n; echo try $n; [ $n -ge 1 ]`
	step := "  a: { run: '" + counter + "', retries: 2, cache: [/c] }"
	reuse := func(g *Group) { g.Reuse = true }
	results := h.run(step, files{"x": "x"}, reuse)
	if got := results[0]; got.Result != event.ResultSuccess || !got.Flaky || got.Tries != 2 {
		t.Errorf("got %+v", got)
	}
	if log := h.log("a"); log != "try 0\ntry 1\n" {
		t.Errorf("log %q", log)
	}
	if again := h.run(step, files{"x": "x"}, reuse)[0]; again.Reused != nil || again.Flaky {
		t.Errorf("a flaky verdict was reused: %+v", again)
	}
	if got := h.run("  a: { run: exit 1, retries: 1 }", files{"x": "x"})[0]; got.Result != event.ResultFailure || got.Flaky || got.Tries != 2 {
		t.Errorf("got %+v", got)
	}
}

const junit = `<testsuites><testsuite name="s"><testcase classname="k" name="good"/><testcase classname="k" name="slow_one"><failure message="x_test.go:3: too slow">x</failure></testcase></testsuite></testsuites>`

func TestReports(t *testing.T) {
	h := newHost(t)
	tree := files{"r.xml": junit, "cover.out": "mode: set\na.go:1.1,2.2 3 1\nb.go:1.1,2.2 1 0\n"}
	tests := []struct{ name, step, result, reason string }{
		{"failed though it exits with 0", "{ run: 'true', reports: { junit: r.xml } }", "failure", "1 of 2 tests failed: k.slow_one"},
		{"failed and exits with 1", "{ run: exit 1, reports: { junit: '*.xml' } }", "failure", "1 of 2 tests failed: k.slow_one"},
		{"quarantine", "{ run: exit 1, reports: { junit: r.xml }, quarantine: ['slow_*'] }", "success", ""},
		{"coverage", "{ run: 'true', reports: { coverage: { file: cover.out, min: 75 } } }", "success", ""},
		{"coverage gate", "{ run: 'true', reports: { coverage: { file: cover.out, min: 80 } } }", "failure", "coverage is 75.0 % (3 of 4), wanted at least 80 %"},
		{"bad report", "{ run: 'echo x > r.xml', reports: { junit: r.xml } }", "failure", "r.xml"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := h.run("  a: "+tt.step, tree)[0]
			if got.Result != tt.result || !strings.Contains(got.Reason, tt.reason) {
				t.Errorf("got %s %q", got.Result, got.Reason)
			}
			if strings.HasPrefix(tt.name, "quarantine") && (got.Tests == nil || got.Tests.Quarantined != 1 || got.Tests.Failed != 0 || len(got.Tests.Failures) != 1) {
				t.Errorf("tests %+v", got.Tests)
			}
		})
	}
}

// The processes of a step can continue the delivery's trace, below the step's span.
func TestTraceparent(t *testing.T) {
	h := newHost(t)
	recorder := tracetest.NewSpanRecorder()
	h.Tracer = telemetry.ForTest(recorder).Tracer()
	h.run("  a: { run: 'echo $TRACEPARENT' }", files{"x": "x"})
	told := telemetry.Parse(strings.TrimSpace(h.log("a")), "")
	for _, s := range recorder.Ended() {
		if s.Name() == "step a" && s.SpanContext().SpanID() == told.SpanID() && s.SpanContext().TraceID() == told.TraceID() && told.IsValid() {
			return
		}
	}
	t.Errorf("the step was told %q, which is no span of its own", h.log("a"))
}

// Values of secrets reach the step and nobody else.
func TestSecrets(t *testing.T) {
	h := newHost(t)
	h.secrets["MILLRACE_SECRET_TOKEN"] = "s3cr3t 'value'"
	step := `  a: { run: ['[ "$TOKEN" = "s3cr3t ''value''" ]', 'echo "it is $TOKEN."', 'cat /run/secrets/TOKEN', 'printf %s "$TOKEN" | base64'], secrets: [TOKEN] }`
	got := h.run(step, files{"x": "x"})[0]
	if got.Result != event.ResultSuccess {
		t.Fatalf("got %+v\n%s", got, h.log("a"))
	}
	log := h.log("a")
	if strings.Contains(log, "s3cr3t") || strings.Contains(log, "czNjcjN0") || !strings.HasPrefix(log, "it is ***.\n") {
		t.Errorf("log %q", log)
	}
	if _, err := h.tryRun(step, files{"x": "x"}, func(g *Group) { g.Commit.Untrusted = true }); err == nil || !strings.Contains(err.Error(), "untrusted") {
		t.Errorf("an untrusted commit got a secret: %v", err)
	}
}

// A verdict is reused where nothing that the step could depend on has changed, and
// nowhere else.
func TestReuse(t *testing.T) {
	h := newHost(t)
	h.secrets["MILLRACE_SECRET_TOKEN"] = "one-value"
	base := "  a: { run: 'cat src/x', paths: ['src/**'], env: { A: '1' }, secrets: [TOKEN] }"
	tree := files{"src/x": "x", "README": "r"}
	with := func(more ...func(*Group)) []func(*Group) {
		return append([]func(*Group){func(g *Group) { g.Reuse = true }}, more...)
	}
	first := h.run(base, tree, with()...)[0]
	if first.Reused != nil || first.Result != event.ResultSuccess {
		t.Fatalf("got %+v", first)
	}
	began := time.Now()
	again := h.run(base, tree, with()...)[0]
	want := event.Step{Name: "a", Result: event.ResultSuccess, Reused: &event.Verdict{Number: 1, Commit: fmt.Sprintf("%040d", 1)}}
	if diff := cmp.Diff(want, again); diff != "" {
		t.Error(diff)
	}
	t.Logf("reused in %s", time.Since(began))
	recorder := tracetest.NewSpanRecorder()
	h.Tracer = telemetry.ForTest(recorder).Tracer()
	h.run(base, tree, with()...)
	if names := spanNames(recorder); !slices.Contains(names, "step a (reused from delivery 1)") {
		t.Errorf("the trace has %q", names)
	}
	tests := []struct {
		name   string
		steps  string
		tree   files
		change func(*Group)
		reused bool
	}{
		{"another file", base, files{"src/x": "x", "README": "other"}, nil, true},
		{"an input", base, files{"src/x": "y", "README": "r"}, nil, false},
		{"a new input", base, files{"src/x": "x", "src/y": "y"}, nil, false},
		{"the command", strings.Replace(base, "cat", "tail", 1), tree, nil, false},
		{"the environment", strings.Replace(base, "'1'", "'2'", 1), tree, nil, false},
		{"fresh", base, tree, func(g *Group) { g.Commit.Fresh = true }, false},
		{"the whole tree", strings.Replace(base, "paths: ['src/**'], ", "", 1), tree, nil, false},
		{"quarantine", strings.Replace(base, "env:", "quarantine: ['x*'], env:", 1), tree, nil, false},
	}
	for _, tt := range tests {
		change := func(*Group) {}
		if tt.change != nil {
			change = tt.change
		}
		if got := h.run(tt.steps, tt.tree, with(change)...)[0]; (got.Reused != nil) != tt.reused || got.Result != event.ResultSuccess {
			t.Errorf("%s: got %+v", tt.name, got)
		}
	}
	h.secrets["MILLRACE_SECRET_TOKEN"] = "another-value"
	if got := h.run(base, tree, with()...)[0]; got.Reused != nil {
		t.Error("reused although the secret's value changed")
	}
	// Failures are not kept.
	for range 2 {
		if got := h.run("  a: { run: exit 1 }", tree, with()...)[0]; got.Result != event.ResultFailure || got.Reused != nil {
			t.Errorf("got %+v", got)
		}
	}
}

func spanNames(r *tracetest.SpanRecorder) (names []string) {
	for _, s := range r.Ended() {
		names = append(names, s.Name())
	}
	return names
}

// A cache is there for the next delivery, and an untrusted one neither sees nor
// changes it.
func TestCache(t *testing.T) {
	h := newHost(t)
	step := "  a: { run: 'ls /c; echo $MILLRACE_NUMBER > /c/$MILLRACE_NUMBER', cache: [{ path: /c, key: [lock] }] }"
	number := func(n string) func(*Group) { return func(g *Group) { g.Vars.Number = n } }
	untrusted := func(g *Group) { g.Commit.Untrusted = true }
	for i, tt := range []struct {
		tree   files
		change []func(*Group)
		want   string
		result string
	}{
		{files{"lock": "1"}, []func(*Group){number("11")}, "", "success"},
		{files{"lock": "1"}, []func(*Group){number("12")}, "11\n", "success"},
		{files{"lock": "2"}, []func(*Group){number("13")}, "", "success"},
		{files{"lock": "1"}, []func(*Group){number("14"), untrusted}, "ls: /c: No such file or directory\n", "failure"},
		{files{"lock": "1"}, []func(*Group){number("15")}, "11\n12\n", "success"},
	} {
		if got := h.run(step, tt.tree, tt.change...)[0]; got.Result != tt.result || h.log("a") != tt.want && !strings.HasPrefix(h.log("a"), tt.want) {
			t.Errorf("%d: %s, log %q, want %s %q", i, got.Result, h.log("a"), tt.result, tt.want)
		}
	}
}

// A step that prints a gigabyte goes on to its end, and does not fill our memory.
func TestMuchOutput(t *testing.T) {
	h := newHost(t)
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	peak := watchMemory(t)
	got := h.run("  a: { run: 'head -c 1073741824 /dev/zero; echo the end' }", files{"x": "x"})[0]
	grown := int64(peak()) - int64(before.HeapInuse)
	if got.Result != event.ResultSuccess || len(h.log("a")) != bus.MaxLog {
		t.Errorf("got %+v with %d bytes of log", got, len(h.log("a")))
	}
	if grown > 64<<20 { // the server in this process included
		t.Errorf("memory grew by %d MiB, want at most 64", grown>>20)
	}
}

// watchMemory looks at the memory in use now and then, until the peak is asked for.
func watchMemory(t *testing.T) (peak func() uint64) {
	t.Helper()
	stop, most := make(chan struct{}), make(chan uint64)
	go func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		var highest uint64
		for {
			select {
			case <-tick.C:
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				highest = max(highest, m.HeapInuse)
			case <-stop:
				most <- highest
				return
			}
		}
	}()
	return func() uint64 { close(stop); return <-most }
}
