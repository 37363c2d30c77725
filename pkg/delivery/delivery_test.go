package delivery

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

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
	js  jetstream.JetStream
}

func newWorld(t *testing.T) world {
	t.Helper()
	s := bustest.Server(t)
	nc := bustest.Dial(t, s)
	b, err := bus.Open(nc)
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	bustest.Provision(t, b, bustest.Settings())
	return world{t, b, js}
}

func (w world) commit(app string) uint64 {
	w.Helper()
	n, err := w.bus.Publish(w.Context(), event.Commit{App: app, Repository: "https://example.com/shop.git", Hash: hash, Ref: "refs/heads/main"}, nil)
	if err != nil {
		w.Fatal(err)
	}
	return n
}

// note is an observation that, unlike the services', is stored when note returns.
func (w world) note(app string, n uint64, stage, env, what string, attempt int, step event.Step) {
	w.Helper()
	data, err := json.Marshal(event.Progress{App: app, Number: n, StageName: stage, Environment: env, What: what, Attempt: attempt, Step: step, Reason: reasons[what], Worker: "w1", Time: time.Now().UTC()})
	if err != nil {
		w.Fatal(err)
	}
	w.publish(fmt.Sprintf("progress.%s.%s.%s.%d", stage, what, app, n), data)
}

func (w world) publish(subject string, data []byte) {
	w.Helper()
	if _, err := w.js.Publish(w.Context(), subject, data); err != nil {
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
		{"whole", func(w world, n uint64) {
			w.whole("shop", n)
		}, "succeeded: test=succeeded build=succeeded release=succeeded deploy/staging=succeeded deploy/production=succeeded"},
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
		w.publish("commit.shop", []byte(data))
	}
	w.publish("commit.Not.A.Token", []byte(`{}`))
	for n := range uint64(4) {
		w.load(n + 1)
		w.record(bus.InvalidApp, n+1, "test", "", event.Refused, "the event is not JSON")
		if d := w.load(n + 1); d.State != State(event.Refused) || d.Reason == "" || d.TraceID == "" {
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
