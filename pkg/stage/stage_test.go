package stage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/bus/bustest"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/telemetry"
)

const hash = "0123456789012345678901234567890123456789"

var commit = event.Commit{App: "shop", Repository: "https://example.com/shop.git", Hash: hash, Ref: "refs/heads/main"}

type testFunc = Func[event.Commit, event.Tested]

func pass(_ context.Context, j Job[event.Commit]) (event.Tested, error) {
	return event.Tested{Commit: j.Event, Tree: "t"}, nil
}

func red(_ context.Context, j Job[event.Commit]) (event.Tested, error) {
	return event.Tested{Commit: j.Event, Tests: []event.Step{{Name: "unit", Result: event.ResultFailure}}}, Fail("2 tests failed")
}

func broken(context.Context, Job[event.Commit]) (event.Tested, error) {
	return event.Tested{}, errors.New("no route to host")
}

func boom(context.Context, Job[event.Commit]) (event.Tested, error) { panic("boom") }

// work starts a worker that ends with the test, and returns how to stop it.
func work(t *testing.T, b *bus.Bus, run testFunc, change func(*Options[event.Commit])) (stop func()) {
	t.Helper()
	o := Options[event.Commit]{Worker: t.Name(), Tracer: noop.NewTracerProvider().Tracer(""), Log: slog.New(slog.DiscardHandler), Retry: func(int) time.Duration { return time.Millisecond }}
	if change != nil {
		change(&o)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Work(ctx, b, run, o) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// facts waits for the n-th result of the app's deliveries and returns them all.
func facts(t *testing.T, b *bus.Bus, n int) []event.Fact {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var all []event.Fact
	err := b.Follow(ctx, bus.Deliveries, []string{"delivery.>"}, func(e bus.Entry) error {
		f, err := event.Decode(e.Data)
		if err != nil {
			return err
		}
		if all = append(all, f); len(all) == n {
			return bus.ErrStopped
		}
		return nil
	})
	if err != nil || len(all) < n {
		t.Fatalf("got %d results of %d: %v", len(all), n, err)
	}
	return all
}

func publish(t *testing.T, b *bus.Bus) uint64 {
	t.Helper()
	n, err := b.Publish(t.Context(), commit, nil)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestOutcomes(t *testing.T) {
	var calls atomic.Int32
	counted := func(f testFunc) testFunc {
		return func(ctx context.Context, j Job[event.Commit]) (event.Tested, error) {
			calls.Add(1)
			return f(ctx, j)
		}
	}
	second := func(ctx context.Context, j Job[event.Commit]) (event.Tested, error) {
		if j.Attempt == 1 {
			return broken(ctx, j)
		}
		return pass(ctx, j)
	}
	tests := []struct {
		name    string
		run     testFunc
		outcome event.Outcome
		reason  string // part of it
		calls   int32
	}{
		{"success", pass, event.Succeeded, "", 1},
		{"the commit's fault", red, event.Failed, "2 tests failed", 1},
		{"ours, once", second, event.Succeeded, "", 2},
		{"ours, always", broken, event.Errored, "gave up after 5 attempts: no route to host", Attempts},
		{"panic", boom, event.Errored, "panic: boom", Attempts},
		{"refused", func(context.Context, Job[event.Commit]) (event.Tested, error) {
			return event.Tested{}, Refuse("digest differs")
		}, event.Refused, "digest differs", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			calls.Store(0)
			b := bustest.New(t)
			work(t, b, counted(tt.run), nil)
			publish(t, b)
			f := facts(t, b, 1)[0]
			if f.Outcome != tt.outcome || !strings.Contains(f.Reason, tt.reason) || calls.Load() != tt.calls {
				t.Errorf("got %s %q after %d calls, want %s %q after %d", f.Outcome, f.Reason, calls.Load(), tt.outcome, tt.reason, tt.calls)
			}
			if f.App != "shop" || f.Number != 1 || f.Hash != hash || f.Accepted.IsZero() || f.StageName != "test" {
				t.Errorf("the fact does not tell the commit: %+v", f)
			}
		})
	}
}

func TestFailureKeepsWhatIsKnown(t *testing.T) {
	b := bustest.New(t)
	work(t, b, red, nil)
	publish(t, b)
	if f := facts(t, b, 1)[0]; len(f.Tests) != 1 || f.Tests[0].Name != "unit" {
		t.Errorf("got tests %v, want the failed step", f.Tests)
	}
}

func TestInvalidEvents(t *testing.T) {
	ok := fmt.Sprintf(`{"repository":"https://x/y.git","commit":"%s"`, hash)
	tests := []struct {
		name, subject, data string
		want                string // part of the reason; "" = accepted
	}{
		{"plain", "commit.shop", ok + `}`, ""},
		{"unknown field", "commit.shop", ok + `,"colour":"red"}`, ""},
		{"not JSON", "commit.shop", `{`, "not JSON"},
		{"wrong type", "commit.shop", `{"repository":7}`, `"repository" is a number`},
		{"not an object", "commit.shop", `[]`, "array"},
		{"too large", "commit.shop", ok + `,"message":"` + strings.Repeat("x", event.MaxBytes) + `"}`, "at most 65536"},
		{"bad app", "commit.Shop_1", ok + `}`, "not a DNS label"},
		{"two tokens", "commit.shop.x", ok + `}`, "not a DNS label"},
		{"another app", "commit.shop", ok + `,"app":"till"}`, `"till"`},
		{"short hash", "commit.shop", `{"repository":"https://x","commit":"abc"}`, "40 or 64"},
		{"upper case hash", "commit.shop", `{"repository":"https://x","commit":"` + strings.Repeat("A", 40) + `"}`, "40 or 64"},
		{"no repository", "commit.shop", `{"commit":"` + hash + `"}`, "repository is missing"},
		{"option as repository", "commit.shop", `{"repository":"--upload-pack=x","commit":"` + hash + `"}`, "not a URL"},
		{"ref up", "commit.shop", ok + `,"ref":"refs/heads/a..b"}`, "ref"},
		{"ref with dash", "commit.shop", ok + `,"ref":"-x"}`, "ref"},
		{"ref with inner dash", "commit.shop", ok + `,"ref":"refs/heads/-x"}`, "ref"},
		{"path up", "commit.shop", ok + `,"path":"../x"}`, "path"},
	}
	s := bustest.Server(t)
	b := bustest.Connect(t, s)
	bustest.Provision(t, b, bustest.Settings())
	work(t, b, pass, nil)
	nc := bustest.Dial(t, s)
	for _, tt := range tests { // no headers, no acknowledgement: as nats pub does it
		if err := nc.Publish(tt.subject, []byte(tt.data)); err != nil {
			t.Fatal(err)
		}
	}
	all := facts(t, b, len(tests))
	slices.SortFunc(all, func(a, b event.Fact) int { return int(a.Number) - int(b.Number) })
	for i, tt := range tests {
		want := event.Refused
		if tt.want == "" {
			want = event.Succeeded
		}
		if f := all[i]; f.Outcome != want || !strings.Contains(f.Reason, tt.want) {
			t.Errorf("%s: got %s %q, want %s %q", tt.name, f.Outcome, f.Reason, want, tt.want)
		}
	}
}

// An event that takes its process down each time must not do so for ever.
func TestCrashLoopEnds(t *testing.T) {
	b := bustest.New(t)
	n := publish(t, b)
	for range Attempts { // each takes the event and is never heard of again
		feed, err := b.Consume(t.Context(), event.StageTest)
		if err != nil {
			t.Fatal(err)
		}
		msg, err := feed.Next()
		if err != nil {
			t.Fatal(err)
		}
		_ = msg.Nak() // sooner than AckWait would
		feed.Stop()
	}
	work(t, b, func(context.Context, Job[event.Commit]) (event.Tested, error) {
		t.Error("ran a sixth time")
		return event.Tested{}, nil
	}, nil)
	if f := facts(t, b, 1)[0]; f.Outcome != event.Errored || f.Number != n || !strings.Contains(f.Reason, "killed") {
		t.Errorf("got %s %q", f.Outcome, f.Reason)
	}
}

// A worker that was stopped like a zombie wakes up when another one is done. Both
// finish; one result stands. On one server, and on a cluster, where the two write
// through different servers.
func TestZombie(t *testing.T) {
	for _, servers := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d servers", servers), func(t *testing.T) {
			b, url := provisioned(t, servers)
			zombie := process(t, url)
			number := publish(t, b)
			zombie.waitFor("running")
			zombie.signal(syscall.SIGSTOP)
			work(t, b, pass, func(o *Options[event.Commit]) { o.Worker = "second" })
			if f := facts(t, b, 1)[0]; f.Worker != "second" || f.Outcome != event.Succeeded {
				t.Fatalf("got %s by %s", f.Outcome, f.Worker)
			}
			zombie.signal(syscall.SIGCONT)
			zombie.say("go on")
			zombie.waitFor("finished")
			settled(t, b)
			if f, _, err := b.Result(t.Context(), bus.Key{Stage: "test", App: "shop", Number: number}); err != nil || f.Worker != "second" {
				t.Errorf("the zombie's result stands: %s by %s, %v", f.Outcome, f.Worker, err)
			}
			if n := count(t, b); n != 1 {
				t.Errorf("%d results are stored", n)
			}
		})
	}
}

// A worker that is killed is replaced within AckWait and five seconds.
func TestKilledWorker(t *testing.T) {
	b, url := provisioned(t, 1)
	victim := process(t, url)
	publish(t, b)
	victim.waitFor("running")
	victim.signal(syscall.SIGKILL)
	died := time.Now()
	work(t, b, pass, func(o *Options[event.Commit]) { o.Worker = "second" })
	f := facts(t, b, 1)[0]
	if f.Attempt != 2 || f.Worker != "second" {
		t.Errorf("got attempt %d by %s, want the second worker's second attempt", f.Attempt, f.Worker)
	}
	if took, limit := f.Started.Sub(died), bustest.Settings().AckWait+5*time.Second; took > limit {
		t.Errorf("taken over after %s, want at most %s", took, limit)
	}
}

// provisioned returns a bus and the URL of a server that is another one of the
// cluster where there are several.
func provisioned(t *testing.T, servers int) (*bus.Bus, string) {
	t.Helper()
	all := []*server.Server{}
	if servers == 1 {
		all = append(all, bustest.Server(t))
	} else {
		all = bustest.Cluster(t)
	}
	set := bustest.Settings()
	set.Replicas = servers
	b := bustest.Connect(t, all[0])
	bustest.Provision(t, b, set)
	return b, all[len(all)-1].ClientURL()
}

// settled waits until no worker holds an event any more.
func settled(t *testing.T, b *bus.Bus) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		waiting, running, err := b.Backlog(t.Context(), event.StageTest)
		if err != nil {
			t.Fatal(err)
		}
		if waiting+running == 0 {
			return
		}
		<-tick.C
	}
}

// count is how many results are stored.
func count(t *testing.T, b *bus.Bus) (n int) {
	t.Helper()
	err := b.Read(t.Context(), bus.Deliveries, []string{"delivery.>"}, func(bus.Entry) error { n++; return nil })
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Nothing may be acknowledged whose result is not stored: with a stream of facts
// that takes nothing, the event must stay, and be worked on once it does.
func TestResultIsStoredBeforeAck(t *testing.T) {
	s := bustest.Server(t)
	b := bustest.Connect(t, s)
	bustest.Provision(t, b, bustest.Settings())
	js, err := jetstream.New(bustest.Dial(t, s))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), bus.Deliveries)
	if err != nil {
		t.Fatal(err)
	}
	open := stream.CachedInfo().Config
	full := open
	full.MaxMsgSize = 10
	if _, err := js.UpdateStream(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	ran := make(chan struct{}, 100)
	work(t, b, func(ctx context.Context, j Job[event.Commit]) (event.Tested, error) {
		ran <- struct{}{}
		return pass(ctx, j)
	}, nil)
	publish(t, b)
	<-ran
	<-ran // it came back, since its result could not be stored
	if _, running, err := b.Backlog(t.Context(), event.StageTest); err != nil || running != 1 {
		t.Errorf("%d events are held, want 1: %v", running, err)
	}
	if _, err := js.UpdateStream(t.Context(), open); err != nil {
		t.Fatal(err)
	}
	facts(t, b, 1)
	settled(t, b)
}

// A result that is there already is not worked on again.
func TestKnownResult(t *testing.T) {
	b := bustest.New(t)
	n := publish(t, b)
	k := bus.Key{Stage: "test", App: "shop", Number: n}
	if _, _, err := b.Record(t.Context(), k, event.Tested{Commit: commit}, event.Result{StageName: "test", Outcome: event.Failed}, nil); err != nil {
		t.Fatal(err)
	}
	work(t, b, func(context.Context, Job[event.Commit]) (event.Tested, error) {
		t.Error("ran although the result is known")
		return event.Tested{}, nil
	}, nil)
	settled(t, b)
}

// A stage may take hours; the server must not hand its event to someone else.
func TestHeartbeatOfAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		last, longest, beats := time.Now(), time.Duration(0), 0
		stop := heartbeat(func() error {
			longest, last = max(longest, time.Since(last)), time.Now()
			beats++
			return nil
		}, bus.AckWait/3)
		<-time.After(time.Hour) // in no time: the bubble's clock jumps
		stop()
		if longest > bus.AckWait/2 || beats < int(time.Hour/bus.AckWait) {
			t.Errorf("%d beats, the longest silence %s of at most %s", beats, longest, bus.AckWait)
		}
	})
}

// The heart beats while the stage runs: no second worker gets the event.
func TestSlowStageKeepsItsEvent(t *testing.T) {
	b := bustest.New(t)
	var runs atomic.Int32
	slow := func(ctx context.Context, j Job[event.Commit]) (event.Tested, error) {
		runs.Add(1)
		<-time.After(2 * bustest.Settings().AckWait)
		return pass(ctx, j)
	}
	work(t, b, slow, func(o *Options[event.Commit]) { o.Slots = 2 })
	publish(t, b)
	if f := facts(t, b, 1)[0]; f.Attempt != 1 || runs.Load() != 1 {
		t.Errorf("attempt %d after %d runs", f.Attempt, runs.Load())
	}
}

// A service that stops lets work finish that is done within the grace period.
func TestStopFinishesWork(t *testing.T) {
	b := bustest.New(t)
	running := make(chan struct{})
	stop := work(t, b, func(ctx context.Context, j Job[event.Commit]) (event.Tested, error) {
		close(running)
		select {
		case <-ctx.Done():
			return event.Tested{}, ctx.Err()
		case <-time.After(time.Second): // of work, most of it after the stop
			return pass(ctx, j)
		}
	}, func(o *Options[event.Commit]) { o.Grace = time.Hour })
	publish(t, b)
	<-running
	stop()
	f, found, err := b.Result(t.Context(), bus.Key{Stage: "test", App: "shop", Number: 1})
	if err != nil || !found || f.Outcome != event.Succeeded {
		t.Errorf("after the stop there is %s %q, %v", f.Outcome, f.Reason, err)
	}
}

// What does not finish is handed back at once, and it costs no attempt: also not
// when services come and go more often than an event may be tried.
func TestHandBackIsFree(t *testing.T) {
	b := bustest.New(t)
	publish(t, b)
	for range Attempts + 1 {
		running := make(chan struct{})
		stop := work(t, b, func(ctx context.Context, _ Job[event.Commit]) (event.Tested, error) {
			close(running)
			<-ctx.Done()
			return event.Tested{}, ctx.Err()
		}, nil)
		<-running
		stop()
	}
	work(t, b, pass, nil)
	if f := facts(t, b, 1)[0]; f.Outcome != event.Succeeded || f.Attempt != 1 {
		t.Errorf("got %s at attempt %d, want success at 1: %s", f.Outcome, f.Attempt, f.Reason)
	}
}

// Forgetful inherits Stage from Tested, which would feed the stage its own output.
type forgetful struct{ event.Tested }

func TestStageMustNotFeedItself(t *testing.T) {
	run := func(context.Context, Job[event.Tested]) (f forgetful, err error) { return f, nil }
	if err := Work(t.Context(), bustest.New(t), run, Options[event.Tested]{}); err == nil {
		t.Error("want an error")
	}
}

// One delivery is one trace, whose root is emitted once, by the stage that ends it.
func TestTrace(t *testing.T) {
	caller := "00-11111111111111111111111111111111-2222222222222222-01"
	for _, tt := range []struct{ name, traceparent string }{{"own", ""}, {"joined", caller}} {
		t.Run(tt.name, func(t *testing.T) {
			b := bustest.New(t)
			recorder := tracetest.NewSpanRecorder()
			tel := telemetry.ForTest(recorder)
			work(t, b, red, func(o *Options[event.Commit]) { o.Tracer = tel.Tracer() })
			header := nats.Header{}
			if tt.traceparent != "" {
				header["Traceparent"] = []string{tt.traceparent} // as a Go publisher writes it
			}
			if _, err := b.Publish(t.Context(), commit, header); err != nil {
				t.Fatal(err)
			}
			f := facts(t, b, 1)[0]
			settled(t, b)
			root := telemetry.Root(f.Commit, telemetry.Parse(tt.traceparent, ""))
			names := map[string]int{}
			for _, s := range recorder.Ended() {
				names[s.Name()]++
				if s.SpanContext().TraceID() != root.TraceID() {
					t.Errorf("%s is in trace %s, want %s", s.Name(), s.SpanContext().TraceID(), root.TraceID())
				}
				if s.Name() == "test" && s.Parent().SpanID() != root.SpanID() {
					t.Errorf("the stage's parent is %s, want the root %s", s.Parent().SpanID(), root.SpanID())
				}
				if s.Name() == "RUN shop" && (s.SpanContext().SpanID() != root.SpanID() || !s.StartTime().Equal(f.Accepted)) {
					t.Errorf("root %s from %s, want %s from %s", s.SpanContext().SpanID(), s.StartTime(), root.SpanID(), f.Accepted)
				}
			}
			want := map[string]int{"RUN shop": 1, "test": 1, "queued": 1, "publish test.failed": 1}
			if diff := cmp.Diff(want, names); diff != "" {
				t.Error(diff)
			}
		})
	}
}
