package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/bus/bustest"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/telemetry"
)

const hash = "0123456789012345678901234567890123456789"

// world is a server and who writes to it as the services do.
type world struct {
	*testing.T
	bus *bus.Bus
	nc  *nats.Conn
}

func newWorld(t *testing.T) world {
	t.Helper()
	s := bustest.Server(t)
	nc := bustest.Dial(t, s)
	b, err := bus.Open(nc)
	if err != nil {
		t.Fatal(err)
	}
	bustest.Provision(t, b, bustest.Settings())
	return world{t, b, nc}
}

func (w world) commit(app string) uint64 {
	w.Helper()
	n, err := w.bus.Publish(w.Context(), event.Commit{App: app, Repository: "https://example.com/shop.git", Hash: hash, Ref: "refs/heads/main"}, nil)
	if err != nil {
		w.Fatal(err)
	}
	return n
}

// note is an observation that is stored when note returns.
func (w world) note(app string, n uint64, stage, env, what string, attempt int, step event.Step) {
	w.Helper()
	w.bus.Note(event.Progress{App: app, Number: n, StageName: stage, Environment: env, What: what, Attempt: attempt, Step: step, Reason: reasons[what], Worker: "w1"})
	if err := w.nc.Flush(); err != nil {
		w.Fatal(err)
	}
}

var reasons = map[string]string{event.Waiting: "the lock of production", event.Retrying: "no route to host"}

func (w world) record(app string, n uint64, stage, env string, o event.Outcome, reason string) {
	w.Helper()
	all := event.Deployed{Environment: env, URL: "http://127.0.0.1:8080", Previous: "old"}
	all.Commit = event.Commit{App: app, Number: n, Repository: "https://example.com/shop.git", Hash: hash, Author: "Ada", Message: "Say hello", Accepted: time.Unix(1, 0).UTC()}
	all.Environments = []string{"staging", "production"}
	all.Tests = []event.Step{{Name: "unit", Result: event.ResultSuccess, Seconds: 2}}
	all.Image = "hello@sha256:1"
	var e event.Event = all
	switch stage {
	case event.StageTest:
		e = all.Tested
	case event.StageBuild:
		e = all.Built
	case event.StageRelease:
		e = all.Released
	}
	at := time.Unix(100, 0).UTC()
	r := event.Result{StageName: stage, Outcome: o, Reason: reason, Attempt: 1, Worker: "w1", Queued: at, Started: at.Add(time.Second), Finished: at.Add(3 * time.Second)}
	if _, first, err := w.bus.Record(w.Context(), bus.Key{Stage: stage, App: app, Number: n, Environment: env}, e, r, nil); err != nil || !first {
		w.Fatal(first, err)
	}
}

// whole takes a delivery through all stages.
func (w world) whole(app string, n uint64) {
	w.Helper()
	for _, stage := range []string{event.StageTest, event.StageBuild, event.StageRelease} {
		w.note(app, n, stage, "", event.Started, 1, event.Step{})
		w.note(app, n, stage, "", event.StepStarted, 1, event.Step{Name: "unit"})
		w.note(app, n, stage, "", event.StepFinished, 1, event.Step{Name: "unit", Result: event.ResultSuccess, Seconds: 2})
		w.record(app, n, stage, "", event.Succeeded, "")
	}
	for _, env := range []string{"staging", "production"} {
		w.note(app, n, event.StageDeploy, env, event.Started, 1, event.Step{})
		w.record(app, n, event.StageDeploy, env, event.Succeeded, "")
	}
}

func (w world) load(n uint64) Delivery {
	w.Helper()
	d, err := Load(w.Context(), w.bus, n)
	if err != nil {
		w.Fatal(err)
	}
	return d
}

// states is the delivery in short: "running: test=running build=pending …".
func states(d Delivery) string {
	s := string(d.State) + ":"
	for _, stage := range d.Stages {
		s += " " + strings.ReplaceAll(stage.Title(), " ", "/") + "=" + string(stage.State)
	}
	return s
}

func TestStates(t *testing.T) {
	unit := event.Step{Name: "unit"}
	tests := []struct {
		name string
		do   func(w world, n uint64)
		want string
	}{
		{"fresh", func(world, uint64) {}, "queued: test=queued build=pending release=pending deploy=pending"},
		{"running", func(w world, n uint64) {
			w.note("shop", n, "test", "", event.Started, 1, event.Step{})
		}, "running: test=running build=pending release=pending deploy=pending"},
		{"waiting", func(w world, n uint64) {
			w.note("shop", n, "test", "", event.Waiting, 1, event.Step{})
		}, "waiting: test=waiting build=pending release=pending deploy=pending"},
		{"retrying", func(w world, n uint64) {
			w.note("shop", n, "test", "", event.Started, 1, event.Step{})
			w.note("shop", n, "test", "", event.Retrying, 1, event.Step{})
		}, "retrying: test=retrying build=pending release=pending deploy=pending"},
		{"second attempt", func(w world, n uint64) {
			w.note("shop", n, "test", "", event.Retrying, 1, event.Step{})
			w.note("shop", n, "test", "", event.Started, 2, event.Step{})
			w.note("shop", n, "test", "", event.Retrying, 1, event.Step{}) // late
		}, "running: test=running build=pending release=pending deploy=pending"},
		{"tested", func(w world, n uint64) {
			w.record("shop", n, "test", "", event.Succeeded, "")
			w.note("shop", n, "test", "", event.StepFinished, 1, unit) // late
		}, "queued: test=succeeded build=queued release=pending deploy/staging=pending deploy/production=pending"},
		{"failed", func(w world, n uint64) {
			w.record("shop", n, "test", "", event.Succeeded, "")
			w.record("shop", n, "build", "", event.Failed, "no compiler")
		}, "failed: test=succeeded build=failed release=skipped deploy/staging=skipped deploy/production=skipped"},
		{"second environment", func(w world, n uint64) {
			w.record("shop", n, "test", "", event.Succeeded, "")
			w.record("shop", n, "build", "", event.Succeeded, "")
			w.record("shop", n, "release", "", event.Succeeded, "")
			w.record("shop", n, "deploy", "staging", event.Succeeded, "")
			w.note("shop", n, "deploy", "production", event.Started, 1, event.Step{})
		}, "running: test=succeeded build=succeeded release=succeeded deploy/staging=succeeded deploy/production=running"},
		{"whole", func(w world, n uint64) { w.whole("shop", n) },
			"succeeded: test=succeeded build=succeeded release=succeeded deploy/staging=succeeded deploy/production=succeeded"},
	}
	w := newWorld(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := w.commit("shop")
			tt.do(w, n)
			if got := states(w.load(n)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	w := newWorld(t)
	n := w.commit("shop")
	w.whole("shop", n)
	d := w.load(n)
	if d.Image != "hello@sha256:1" || d.URL() != "http://127.0.0.1:8080" || d.Commit.Author != "Ada" || d.Finished.IsZero() {
		t.Errorf("the facts are not all told: %+v", d)
	}
	s := d.Stages[0]
	if len(s.Steps) != 1 || s.Steps[0].Result != event.ResultSuccess || s.Steps[0].Started.IsZero() || s.Wait() != time.Second || s.Elapsed(time.Now()) != 2*time.Second {
		t.Errorf("the test stage is not all told: %+v", s)
	}
	root := telemetry.Root(event.Commit{App: "shop", Number: n, Repository: d.Commit.Repository, Hash: hash}, telemetry.Parse("", ""))
	if d.TraceID != root.TraceID().String() {
		t.Errorf("trace id %s, want %s", d.TraceID, root.TraceID())
	}
	if _, err := Load(t.Context(), w.bus, 99); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("delivery 99: %v", err)
	}
}

func TestBrokenEvents(t *testing.T) {
	w := newWorld(t)
	for _, data := range []string{`not json`, `{"repository":7}`, `[]`} {
		if err := w.nc.Publish("commit.shop", []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.nc.Publish("commit.Not.A.Token", []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	if err := w.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	for n := range uint64(4) {
		d := w.load(n + 1)
		w.record(bus.InvalidApp, n+1, "test", "", event.Refused, "the event is not JSON")
		if d = w.load(n + 1); d.State != State(event.Refused) || d.Reason == "" || d.TraceID == "" {
			t.Errorf("%d: %s %q %q", n+1, states(d), d.Reason, d.TraceID)
		}
	}
}

func TestList(t *testing.T) {
	w := newWorld(t)
	for _, app := range []string{"shop", "blog", "shop", "shop"} {
		w.commit(app)
	}
	w.record("shop", 1, "test", "", event.Failed, "red")
	w.note("shop", 3, "test", "", event.Started, 1, event.Step{})
	tests := []struct {
		app   string
		limit int
		want  []string
	}{
		{"", 10, []string{"4 queued", "3 running", "2 queued", "1 failed"}},
		{"shop", 10, []string{"4 queued", "3 running", "1 failed"}},
		{"", 2, []string{"4 queued", "3 running"}},
		{"none", 2, nil},
	}
	for _, tt := range tests {
		list, err := List(t.Context(), w.bus, tt.app, tt.limit)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, d := range list {
			got = append(got, fmt.Sprintf("%d %s", d.Number, d.State))
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("app %q, limit %d: %s", tt.app, tt.limit, diff)
		}
	}
}

// told is the changes of a whole delivery, in order.
func told() []string {
	want := []string{"accepted"}
	for _, stage := range []string{"test", "build", "release"} {
		for _, kind := range []string{"stage-started", "step-started unit", "step-finished unit", "stage-ended"} {
			want = append(want, stage+" "+kind)
		}
	}
	for _, env := range []string{"staging", "production"} {
		want = append(want, "deploy "+env+" stage-started", "deploy "+env+" stage-ended")
	}
	return want
}

func short(c Change) string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", c.Stage.Title(), c.Kind, c.Step.Name))
}

// TestFollow follows from the start, from the middle and after the end: all see the
// same, each once.
func TestFollow(t *testing.T) {
	w := newWorld(t)
	n := w.commit("shop")
	type result struct {
		seen []string
		last Delivery
		err  error
	}
	results := make(chan result, 3)
	follow := func() {
		var r result
		began := make(chan struct{})
		go func() {
			r.last, r.err = Follow(t.Context(), w.bus, n, func(_ Delivery, c Change) {
				if r.seen = append(r.seen, short(c)); len(r.seen) == 1 {
					close(began)
				}
			})
			results <- r
		}()
		<-began
	}
	follow()
	w.note("shop", n, "test", "", event.Started, 1, event.Step{})
	follow()
	w.rest(n)
	follow()
	for range 3 {
		r := <-results
		if r.err != nil || r.last.State != State(event.Succeeded) {
			t.Errorf("ends %s: %v", states(r.last), r.err)
		}
		if diff := cmp.Diff(told(), r.seen); diff != "" {
			t.Error(diff)
		}
	}
}

// rest is whole without the first observation.
func (w world) rest(n uint64) {
	w.Helper()
	w.note("shop", n, "test", "", event.StepStarted, 1, event.Step{Name: "unit"})
	w.note("shop", n, "test", "", event.StepFinished, 1, event.Step{Name: "unit", Result: event.ResultSuccess, Seconds: 2})
	w.record("shop", n, "test", "", event.Succeeded, "")
	for _, stage := range []string{event.StageBuild, event.StageRelease} {
		w.note("shop", n, stage, "", event.Started, 1, event.Step{})
		w.note("shop", n, stage, "", event.StepStarted, 1, event.Step{Name: "unit"})
		w.note("shop", n, stage, "", event.StepFinished, 1, event.Step{Name: "unit", Result: event.ResultSuccess, Seconds: 2})
		w.record("shop", n, stage, "", event.Succeeded, "")
	}
	for _, env := range []string{"staging", "production"} {
		w.note("shop", n, event.StageDeploy, env, event.Started, 1, event.Step{})
		w.record("shop", n, event.StageDeploy, env, event.Succeeded, "")
	}
}

func TestFollowIsInterrupted(t *testing.T) {
	w := newWorld(t)
	n := w.commit("shop")
	ctx, cancel := context.WithCancel(t.Context())
	d, err := Follow(ctx, w.bus, n, func(Delivery, Change) { cancel() })
	if !errors.Is(err, context.Canceled) || d.Number != n || d.State != Queued {
		t.Errorf("got %s: %v", states(d), err)
	}
}

func TestCallbackOwnsWhatItGets(t *testing.T) {
	w := newWorld(t)
	n := w.commit("shop")
	w.whole("shop", n)
	var first Delivery
	if _, err := Follow(t.Context(), w.bus, n, func(d Delivery, c Change) {
		if c.Kind == StepStarted && first.App == "" {
			first = d
		}
	}); err != nil {
		t.Fatal(err)
	}
	if got := states(first); got != "running: test=running build=pending release=pending deploy=pending" || first.Stages[0].Steps[0].Result != "" {
		t.Errorf("changed behind its back: %s, step %+v", got, first.Stages[0].Steps)
	}
}

func (w world) span(n uint64, s telemetry.Span, raw ...byte) {
	w.Helper()
	data := raw
	if len(raw) == 0 {
		data = []byte(fmt.Sprintf(`{"traceId":%q,"spanId":%q,"parentSpanId":%q,"name":%q,"start":%q,"end":%q}`,
			s.TraceID, s.ID, s.Parent, s.Name, s.Start.Format(time.RFC3339Nano), s.End.Format(time.RFC3339Nano)))
	}
	w.bus.NoteRaw("test", event.Span, "shop", n, data)
	if err := w.nc.Flush(); err != nil {
		w.Fatal(err)
	}
}

func lines(s *Span, indent string) []string {
	all := []string{indent + s.Name}
	for _, c := range s.Children {
		all = append(all, lines(c, indent+"  ")...)
	}
	return all
}

func TestTrace(t *testing.T) {
	w := newWorld(t)
	n := w.commit("shop")
	commit, err := w.bus.Commit(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	root := rootOf(commit, w.load(n)).ID
	at := func(s int) time.Time { return time.Unix(int64(s), 0).UTC() }
	w.span(n, telemetry.Span{ID: "c", Parent: "b", Name: "step unit", Start: at(4), End: at(5)}) // children end first
	w.span(n, telemetry.Span{ID: "d", Parent: "b", Name: "queued", Start: at(2), End: at(3)})
	w.span(n, telemetry.Span{ID: "b", Parent: root, Name: "test", Start: at(3), End: at(6)})
	w.span(n, telemetry.Span{ID: "e", Parent: "lost", Name: "orphan", Start: at(9), End: at(10)})
	w.span(n, telemetry.Span{ID: "x", Parent: "y", Name: "loop x", Start: at(11), End: at(12)})
	w.span(n, telemetry.Span{ID: "y", Parent: "x", Name: "loop y", Start: at(12), End: at(12)})
	w.span(n, telemetry.Span{}, []byte("not json")...)
	got, err := Trace(t.Context(), w.bus, n)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"RUN shop", "  test", "    queued", "    step unit", "  orphan", "  loop x", "  loop y"}
	if diff := cmp.Diff(want, lines(got, "")); diff != "" {
		t.Error(diff)
	}
	if !got.Missing || got.ID != root || got.Start.IsZero() {
		t.Errorf("the root is not made up: %+v", got.Span)
	}
}

// TestTraceWaitsForItsRoot reads a trace between the last fact and the root span.
func TestTraceWaitsForItsRoot(t *testing.T) {
	w := newWorld(t)
	n := w.commit("shop")
	res := event.Result{StageName: "test", Outcome: event.Failed, Attempt: 1, Started: time.Now(), Finished: time.Now()}
	if _, _, err := w.bus.Record(t.Context(), bus.Key{Stage: "test", App: "shop", Number: n}, event.Tested{Commit: event.Commit{App: "shop", Number: n}}, res, nil); err != nil {
		t.Fatal(err)
	}
	commit, err := w.bus.Commit(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	root := rootOf(commit, w.load(n)).ID
	w.span(n, telemetry.Span{ID: "b", Parent: root, Name: "test", Start: time.Now(), End: time.Now()})
	got := make(chan *Span, 1)
	go func() {
		s, err := Trace(t.Context(), w.bus, n)
		if err != nil {
			t.Error(err)
		}
		got <- s
	}()
	w.awaitReaders()
	w.span(n, telemetry.Span{ID: root, Name: "RUN shop", Start: time.Now(), End: time.Now()})
	if s := <-got; s.Missing || s.Name != "RUN shop" || len(s.Children) != 1 {
		t.Errorf("got %+v", s)
	}
}

// awaitReaders waits until somebody reads the observations.
func (w world) awaitReaders() {
	w.Helper()
	sub, err := w.nc.SubscribeSync("$JS.API.CONSUMER.MSG.NEXT." + bus.Progress + ".>")
	if err != nil {
		w.Fatal(err)
	}
	if _, err := sub.NextMsg(10 * time.Second); err != nil {
		w.Fatal(err)
	}
}

func TestLogs(t *testing.T) {
	w := newWorld(t)
	n := w.commit("shop")
	w.print(n, "test", "unit[go=1.26]", 1, "one\n")
	w.print(n, "test", "unit-go-1-26", 1, "another\n") // the same token
	w.print(n, "build", "build", 1, "lost\n")
	w.print(n, "build", "build", 2, "\x1b[31mtwo\x1b[0m\nthree\nfour")
	tests := []struct {
		name  string
		which Which
		want  string
	}{
		{"all", Which{}, "one\nanother\nlost\n\x1b[31mtwo\x1b[0m\nthree\nfour"},
		{"stage", Which{Stage: "test"}, "one\nanother\n"},
		{"step", Which{Step: "unit[go=1.26]"}, "one\n"},
		{"token", Which{Step: "unit-go-1-26"}, "one\nanother\n"},
		{"nothing", Which{Stage: "deploy"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if err := Logs(t.Context(), w.bus, n, tt.which, false, func(c Chunk) error { got += string(c.Data); return nil }); err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	lines, total, err := Tail(t.Context(), w.bus, n, Which{Stage: "build", Step: "build"}, 2)
	if err != nil || total != 3 || !slices.Equal(lines, []string{"three", "four"}) {
		t.Errorf("tail: %q of %d: %v", lines, total, err)
	}
	if err := Logs(t.Context(), w.bus, 99, Which{}, false, nil); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("delivery 99: %v", err)
	}
}

func (w world) print(n uint64, stage, step string, attempt int, text string) {
	w.Helper()
	l := w.bus.Log(w.Context(), bus.LogKey{Stage: stage, App: "shop", Number: n, Step: step, Attempt: attempt, Try: 1})
	if _, err := l.Write([]byte(text)); err != nil {
		w.Fatal(err)
	}
	if err := l.Close(event.ResultSuccess); err != nil {
		w.Fatal(err)
	}
}

func TestFollowLogs(t *testing.T) {
	w := newWorld(t)
	n := w.commit("shop")
	w.print(n, "test", "unit", 1, "before\n")
	var got []string
	seen, done := make(chan struct{}, 8), make(chan error, 1)
	go func() {
		done <- Logs(t.Context(), w.bus, n, Which{}, true, func(c Chunk) error {
			got = append(got, string(c.Data)+c.End)
			seen <- struct{}{}
			return nil
		})
	}()
	<-seen
	w.print(n, "test", "unit", 1, "meanwhile\n")
	w.record("shop", n, "test", "", event.Failed, "red")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	want := []string{"before\n", "success", "meanwhile\n", "success"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
