package telemetry

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/millrace-cd/millrace/pkg/event"
)

type deliveryKey struct{}

// WithDelivery makes all spans started with the context carry c's attributes.
func WithDelivery(ctx context.Context, c event.Commit) context.Context {
	return context.WithValue(ctx, deliveryKey{}, []attribute.KeyValue{
		semconv.CICDPipelineName(c.App),
		semconv.CICDPipelineRunID(strconv.FormatUint(c.Number, 10)),
		semconv.VCSRepositoryURLFull(withoutCredentials(c.Repository)),
		semconv.VCSRefHeadRevision(c.Hash),
	})
}

// Root is the span context of c's delivery: the trace of the caller if it had one,
// else one whose id is a hash of the delivery. The caller's decision not to sample
// is kept.
func Root(c event.Commit, caller trace.SpanContext) trace.SpanContext {
	id := fmt.Sprintf("%s\n%d\n%s\n%s", c.App, c.Number, c.Repository, c.Hash)
	tid, sid := sha256.Sum256([]byte("millrace trace\n"+id)), sha256.Sum256([]byte("millrace root\n"+id))
	cfg := trace.SpanContextConfig{
		TraceID: trace.TraceID(tid[:16]), SpanID: trace.SpanID(sid[:8]), TraceFlags: trace.FlagsSampled, Remote: true,
	}
	if caller.IsValid() {
		cfg.TraceID, cfg.TraceFlags, cfg.TraceState = caller.TraceID(), caller.TraceFlags(), caller.TraceState()
	}
	return trace.NewSpanContext(cfg)
}

// EmitRoot makes the root span of a delivery that just ended with f. It lasts from
// the commit event to now, and is a child of the caller's span if there was one.
func EmitRoot(ctx context.Context, t trace.Tracer, root, caller trace.SpanContext, f event.Fact) {
	ctx = trace.ContextWithSpanContext(WithDelivery(ctx, f.Commit), caller)
	ctx = plant(ctx, root)
	opts := []trace.SpanStartOption{
		trace.WithTimestamp(f.Accepted), trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(
			semconv.CICDPipelineActionNameRun, Result(f.Outcome),
			semconv.VCSRefHeadName(f.Ref), attribute.String("user.name", f.Author),
		),
	}
	_, span := t.Start(ctx, "RUN "+f.App, opts...)
	SetOutcome(span, f.Outcome, f.Reason)
	span.End(trace.WithTimestamp(time.Now()))
}

// Result is the conventions' word for an outcome.
func Result(o event.Outcome) attribute.KeyValue {
	switch o {
	case event.Succeeded:
		return semconv.CICDPipelineResultSuccess
	case event.Errored:
		return semconv.CICDPipelineResultError
	case event.Cancelled:
		return semconv.CICDPipelineResultCancellation
	case event.Superseded:
		return semconv.CICDPipelineResultSkip
	}
	return semconv.CICDPipelineResultFailure
}

// SetOutcome marks a span that ended badly. Cancelled and superseded are no errors.
func SetOutcome(span trace.Span, o event.Outcome, reason string) {
	switch o {
	case event.Failed, event.Errored, event.Refused:
		span.SetStatus(codes.Error, reason)
		span.SetAttributes(semconv.ErrorTypeKey.String(string(o)))
	}
}

// TaskResult is the conventions' word for how a stage ended.
func TaskResult(o event.Outcome) attribute.KeyValue {
	return semconv.CICDPipelineTaskRunResultKey.String(Result(o).Value.AsString())
}

// CaseStatus is the conventions' word for how a test case ended.
func CaseStatus(passed bool) attribute.KeyValue {
	if passed {
		return semconv.TestCaseResultStatusPass
	}
	return semconv.TestCaseResultStatusFail
}

// Plan decides the id of a span below ctx's, so that a process can continue it
// before it has begun. [EmitPlanned] makes it.
func Plan(ctx context.Context) trace.SpanContext {
	return trace.SpanContextFromContext(ctx).WithSpanID(newSpanID()).WithRemote(false)
}

// EmitPlanned makes the span that was planned below ctx's, from began to now.
func EmitPlanned(ctx context.Context, t trace.Tracer, planned trace.SpanContext, name string, began time.Time, failure string, attrs ...attribute.KeyValue) {
	_, span := t.Start(plant(ctx, planned), name, trace.WithTimestamp(began), trace.WithAttributes(attrs...))
	if failure != "" {
		span.SetStatus(codes.Error, failure)
	}
	span.End()
}

// Parse reads a W3C traceparent; what is none gives an invalid span context.
func Parse(traceparent, state string) trace.SpanContext {
	carrier := propagation.MapCarrier{"traceparent": traceparent, "tracestate": state}
	return trace.SpanContextFromContext(Propagator().Extract(context.Background(), carrier))
}

// Format writes a W3C traceparent.
func Format(sc trace.SpanContext) string {
	carrier := propagation.MapCarrier{}
	Propagator().Inject(trace.ContextWithSpanContext(context.Background(), sc), carrier)
	return carrier["traceparent"]
}

// withoutCredentials removes user and password from a URL.
func withoutCredentials(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.User == nil {
		return raw
	}
	u.User = nil
	return u.String()
}
