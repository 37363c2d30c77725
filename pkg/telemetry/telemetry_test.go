package telemetry

import (
	"context"
	"strings"
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/millrace-cd/millrace/pkg/event"
)

var commit = event.Commit{App: "shop", Number: 7, Repository: "https://me:secret@example.com/shop.git", Hash: strings.Repeat("a", 40), Accepted: time.Unix(1000, 0)}

// Services that never talk to each other agree on the trace and its root.
func TestRootIsComputable(t *testing.T) {
	first, again := Root(commit, trace.SpanContext{}), Root(commit, trace.SpanContext{})
	if !first.Equal(again) || !first.IsValid() || !first.IsSampled() {
		t.Errorf("got %v and %v", first, again)
	}
	other := commit
	other.Number++
	if Root(other, trace.SpanContext{}).TraceID() == first.TraceID() {
		t.Error("two deliveries share a trace")
	}
}

func TestRootJoinsCaller(t *testing.T) {
	caller := Parse("00-11111111111111111111111111111111-2222222222222222-00", "")
	root := Root(commit, caller)
	if root.TraceID() != caller.TraceID() || root.IsSampled() || root.SpanID() == caller.SpanID() {
		t.Errorf("root %v of caller %v", root, caller)
	}
	if Parse("nonsense", "").IsValid() {
		t.Error("nonsense is a span context")
	}
	if got := Format(caller); got != "00-11111111111111111111111111111111-2222222222222222-00" {
		t.Errorf("formatted as %s", got)
	}
}

func TestEmitRoot(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	tel := ForTest(recorder)
	fact := event.Fact{Result: event.Result{StageName: "test", Outcome: event.Failed, Reason: "red"}}
	fact.Commit = commit
	for _, parent := range []string{"", "00-11111111111111111111111111111111-2222222222222222-01"} {
		caller := Parse(parent, "")
		root := Root(commit, caller)
		EmitRoot(context.Background(), tel.Tracer(), root, caller, fact)
		s := recorder.Ended()[len(recorder.Ended())-1]
		if s.SpanContext().TraceID() != root.TraceID() || s.SpanContext().SpanID() != root.SpanID() || s.Parent().SpanID() != caller.SpanID() {
			t.Errorf("root is %v below %v, want %v below %v", s.SpanContext(), s.Parent(), root, caller)
		}
		if !s.StartTime().Equal(commit.Accepted) || s.Status().Description != "red" || s.Name() != "RUN shop" {
			t.Errorf("root %q from %s: %v", s.Name(), s.StartTime(), s.Status())
		}
	}
}

// A span that was planned has the id that processes were told before it began.
func TestPlannedSpan(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	tracer := ForTest(recorder).Tracer()
	ctx, parent := tracer.Start(WithDelivery(context.Background(), commit), "stage")
	plan := Plan(ctx)
	_, child := tracer.Start(trace.ContextWithSpanContext(ctx, plan), "in the step")
	child.End()
	EmitPlanned(ctx, tracer, plan, "step", time.Unix(5, 0), "")
	parent.End()
	spans := recorder.Ended()
	if spans[0].Parent().SpanID() != plan.SpanID() || spans[1].SpanContext().SpanID() != plan.SpanID() || spans[1].Parent().SpanID() != parent.SpanContext().SpanID() {
		t.Errorf("tree is broken: %v", spans)
	}
}

// The sink gets what belongs to a delivery, with its attributes and without
// credentials.
func TestSink(t *testing.T) {
	var got []Span
	provider := sdk.NewTracerProvider(sdk.WithIDGenerator(planted{}), sdk.WithSpanProcessor(stamp{}), sdk.WithSpanProcessor(toSink{"millrace-tester", func(s Span) { got = append(got, s) }}))
	tracer := provider.Tracer("")
	_, other := tracer.Start(context.Background(), "of no delivery")
	other.End()
	_, mine := tracer.Start(WithDelivery(context.Background(), commit), "mine")
	mine.End()
	if len(got) != 1 || got[0].App != "shop" || got[0].Number != 7 || got[0].Name != "mine" || got[0].Service != "millrace-tester" {
		t.Fatalf("got %+v", got)
	}
	if url := got[0].Attributes["vcs.repository.url.full"]; url != "https://example.com/shop.git" {
		t.Errorf("the repository is told as %s", url)
	}
}
