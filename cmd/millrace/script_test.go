package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/bus/bustest"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/telemetry"
)

// TestMain lets tests run this binary as millrace.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"millrace": main})
}

// TestScripts runs testdata/*.txt, each with a NATS server of its own. Besides
// millrace, scripts have commands that write to the streams what services write:
//
//	commit APP                            a commit event
//	started N STAGE [ENV]                 a stage begins
//	step N STAGE STEP RESULT [FILE]       a step began and ended; FILE is JSON of what else it came to
//	log N STAGE STEP TEXT                 what a step printed; \n and \e are understood
//	fact N STAGE[/ENV] OUTCOME [REASON [FILE]]
//	                                      a stage ended; FILE is JSON of what else the event says, with variables
//	span N ID PARENT NAME FROM TO         of the trace, in milliseconds from its begin
//	store APP KIND DIR VAR [PUBLIC]       the registry gets the files of a directory; VAR is where, as an event has it
//	engine NAME=APP[*]…                   the Docker engine has these caches, those with a star in use
//	used NAME                             a step used a cache
//	await-follower                        waits until somebody follows a delivery
//	exits CODE PROGRAM ARGS…              runs a program that ends with that code
func TestScripts(t *testing.T) {
	registry, bin := startRegistry(t), build(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("REGISTRY", registry)
			env.Setenv("PATH", bin+string(filepath.ListSeparator)+env.Getenv("PATH"))
			return setup(t, env)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"commit": command(t, writer.commit), "started": command(t, writer.started), "step": command(t, writer.step),
			"log": command(t, writer.log), "fact": command(t, writer.fact), "span": command(t, writer.span),
			"await-follower": command(t, writer.awaitFollower),
			"exits":          exits, "store": storeFiles, "engine": startEngine(t), "used": command(t, writer.used),
		},
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
	})
}

// build makes the command as people have it, for hundreds of calls: with the race detector
// it takes more than a second to start, since one of its libraries hashes a password then.
func build(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if out, err := exec.Command("go", "build", "-trimpath", "-o", dir, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

// writerKey is where a script finds its writer.
type writerKey struct{}

// setup starts a server, and gives the script an environment in which nothing of
// this machine's shows.
func setup(t *testing.T, env *testscript.Env) error {
	server := bustest.Server(t)
	nc := bustest.Dial(t, server)
	b, err := bus.Open(nc)
	if err != nil {
		return err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	bustest.Provision(t, b, bustest.Settings())
	env.Values[writerKey{}] = writer{b, js}
	home := filepath.Join(env.WorkDir, ".home")
	for name, value := range map[string]string{
		"MILLRACE_NATS_URL": server.ClientURL(), "HOME": home, "XDG_DATA_HOME": "", "NO_COLOR": "", "TERM": "xterm-256color", "CI": "",
		"GIT_CONFIG_NOSYSTEM": "1", "TRACEPARENT": "", "DOCKER_HOST": "unix://" + filepath.Join(env.WorkDir, "none.sock"),
		"GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.com", "GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@example.com",
		"GIT_AUTHOR_DATE": "2026-01-02T03:04:05Z", "GIT_COMMITTER_DATE": "2026-01-02T03:04:05Z",
	} {
		env.Setenv(name, value)
	}
	return os.Mkdir(home, 0o700)
}

// exits runs a command and wants an exit code: exits 5 millrace show 99
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS…")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// writer writes to the streams.
type writer struct {
	bus *bus.Bus
	js  jetstream.JetStream
}

type writes func(writer, context.Context, *testscript.TestScript, []string)

func command(t *testing.T, do writes) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, _ bool, args []string) {
		do(ts.Value(writerKey{}).(writer), t.Context(), ts, append(args, "", "", "", "")) // what is left out is empty
	}
}

// awaitFollower waits for a reader of the facts besides the services' own.
func (w writer) awaitFollower(ctx context.Context, ts *testscript.TestScript, _ []string) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		stream, err := w.js.Stream(ctx, bus.Deliveries)
		ts.Check(err)
		for c := range stream.ListConsumers(ctx).Info() {
			if c.Config.Durable == "" && c.NumWaiting > 0 {
				return
			}
		}
		<-tick.C
	}
}

func (w writer) commit(ctx context.Context, ts *testscript.TestScript, args []string) {
	_, err := w.bus.Publish(ctx, event.Commit{App: args[0], Repository: "https://example.com/" + args[0] + ".git", Hash: strings.Repeat("0123456789", 4), Ref: "refs/heads/main"}, nil)
	ts.Check(err)
}

// origin is the commit event as the services know it.
func (w writer) origin(ctx context.Context, ts *testscript.TestScript, number string) event.Commit {
	n, err := strconv.ParseUint(number, 10, 64)
	ts.Check(err)
	e, err := w.bus.Commit(ctx, n)
	ts.Check(err)
	c := event.Commit{App: e.Address.App, Number: n, Repository: "https://example.com/" + e.Address.App + ".git", Hash: strings.Repeat("0123456789", 4), Ref: "refs/heads/main"}
	c.Author, c.Message, c.Accepted = "Ada", "Say hello", e.Stored.UTC()
	return c
}

func (w writer) note(ctx context.Context, ts *testscript.TestScript, number, stage, env, what string, step event.Step) {
	c := w.origin(ctx, ts, number)
	data, err := json.Marshal(event.Progress{App: c.App, Number: c.Number, StageName: stage, Environment: env, What: what, Attempt: 1, Worker: "worker-1", Step: step, Time: time.Now().UTC()})
	ts.Check(err)
	_, err = w.js.Publish(ctx, fmt.Sprintf("progress.%s.%s.%s.%d", stage, what, c.App, c.Number), data) // unlike the services, wait until it is stored
	ts.Check(err)
}

func (w writer) started(ctx context.Context, ts *testscript.TestScript, args []string) {
	w.note(ctx, ts, args[0], args[1], args[2], event.Started, event.Step{})
}

func (w writer) step(ctx context.Context, ts *testscript.TestScript, args []string) {
	w.note(ctx, ts, args[0], args[1], "", event.StepStarted, event.Step{Name: args[2]})
	if args[3] != "" {
		s := result(args[2], args[3])
		if args[4] != "" {
			ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[4])), &s))
		}
		w.note(ctx, ts, args[0], args[1], "", event.StepFinished, s)
	}
}

func result(name, result string) event.Step {
	s := event.Step{Name: name, Result: result, Seconds: 1.5}
	if result == event.ResultFailure {
		s.ExitCode = 1
	}
	return s
}

func (w writer) log(ctx context.Context, ts *testscript.TestScript, args []string) {
	c := w.origin(ctx, ts, args[0])
	l := w.bus.Log(ctx, bus.LogKey{Stage: args[1], App: c.App, Number: c.Number, Step: args[2], Attempt: 1, Try: 1}, nil)
	_, err := l.Write([]byte(strings.NewReplacer(`\n`, "\n", `\e`, "\x1b").Replace(args[3])))
	ts.Check(err)
	ts.Check(l.Close(event.ResultSuccess))
}

func (w writer) fact(ctx context.Context, ts *testscript.TestScript, args []string) {
	c := w.origin(ctx, ts, args[0])
	stage, env, _ := strings.Cut(args[1], "/")
	digest := func(digit string) string { return "sha256:" + strings.Repeat(digit, 64) }
	outcome := event.Outcome(args[2])
	unit := result("unit", event.ResultSuccess)
	if outcome == event.Failed {
		unit = result("unit", event.ResultFailure)
	}
	tested := event.Tested{
		Commit: c, Tree: strings.Repeat("a", 40), Environments: []string{"production"}, Tests: []event.Step{unit},
		Snapshot: event.Blob{Repository: "127.0.0.1:5000/millrace/" + c.App + "/snapshot", Digest: digest("1"), Files: 4, Bytes: 4321},
	}
	built := event.Built{Tested: tested, Artifact: event.Blob{Repository: "127.0.0.1:5000/millrace/" + c.App + "/artifact", Digest: digest("2"), Files: 1, Bytes: 1234567}, Build: []event.Step{result("build", event.ResultSuccess)}}
	released := event.Released{Built: built, Image: "127.0.0.1:5000/" + c.App + "@" + digest("3"), Tags: []string{"0.1.0", "0123456"}}
	deployed := event.Deployed{Released: released, Environment: env, URL: "http://127.0.0.1:32768/"}
	if args[4] != "" {
		more := os.Expand(ts.ReadFile(args[4]), ts.Getenv)
		ts.Check(json.Unmarshal([]byte(more), &deployed))
		released, built, tested = deployed.Released, deployed.Built, deployed.Tested
	}
	e := map[string]event.Event{event.StageTest: tested, event.StageBuild: built, event.StageRelease: released, event.StageDeploy: deployed}[stage]
	r := event.Result{StageName: stage, Outcome: outcome, Reason: args[3], Attempt: 1, Worker: "worker-1", Queued: c.Accepted, Started: c.Accepted.Add(200 * time.Millisecond), Finished: c.Accepted.Add(2200 * time.Millisecond)}
	_, _, err := w.bus.Record(ctx, bus.Key{Stage: stage, App: c.App, Number: c.Number, Environment: env}, e, r, nil)
	ts.Check(err)
	if stage == event.StageDeploy && outcome == event.Succeeded {
		record, err := w.bus.Environment(ctx, c.App, env)
		ts.Check(err)
		_, err = w.bus.SetEnvironment(ctx, record.Replace(bus.Running{Number: c.Number, Commit: c.Hash, Image: released.Image, URL: deployed.URL}))
		ts.Check(err)
	}
}

// span is one of the root's where PARENT is root, and the root itself where ID is.
func (w writer) span(ctx context.Context, ts *testscript.TestScript, args []string) {
	c := w.origin(ctx, ts, args[0])
	root := telemetry.Root(c, telemetry.Parse("", ""))
	id := func(s string) string {
		if s == "root" {
			return root.SpanID().String()
		}
		return s
	}
	at := func(ms string) string {
		n, err := strconv.Atoi(ms)
		ts.Check(err)
		return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(time.Duration(n) * time.Millisecond).Format(time.RFC3339Nano)
	}
	data := `{"traceId":"` + root.TraceID().String() + `","spanId":"` + id(args[1]) + `","parentSpanId":"` + id(args[2]) + `","name":"` + args[3] +
		`","kind":"internal","service":"millrace-tester","start":"` + at(args[4]) + `","end":"` + at(args[5]) + `"}`
	_, err := w.js.Publish(ctx, fmt.Sprintf("progress.test.%s.%s.%d", event.Span, c.App, c.Number), []byte(data))
	ts.Check(err)
}
