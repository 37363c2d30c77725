package delivery

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/telemetry"
)

func (w world) span(n uint64, s telemetry.Span, raw ...byte) {
	w.Helper()
	data := raw
	if len(raw) == 0 {
		data = []byte(fmt.Sprintf(`{"traceId":%q,"spanId":%q,"parentSpanId":%q,"name":%q,"start":%q,"end":%q}`,
			s.TraceID, s.ID, s.Parent, s.Name, s.Start.Format(time.RFC3339Nano), s.End.Format(time.RFC3339Nano)))
	}
	w.publish(fmt.Sprintf("progress.test.%s.shop.%d", event.Span, n), data)
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
	sub, err := w.js.Conn().SubscribeSync("$JS.API.CONSUMER.MSG.NEXT." + bus.Progress + ".>")
	if err != nil {
		w.Fatal(err)
	}
	if _, err := sub.NextMsg(10 * time.Second); err != nil {
		w.Fatal(err)
	}
}
