// Package telemetry makes one trace of each delivery.
//
// The trace and its root span have ids that anyone can compute from the commit
// event, so that services which never talk to each other contribute to one tree.
// All spans of stages are children of the root and link to the message that
// triggered them; the root itself is emitted once, by whoever ends the delivery.
//
// Spans go wherever the standard OTEL_* variables say, and nowhere if none is set;
// besides, each finished span of a delivery is handed to a sink, from which millrace
// shows traces without any backend.
package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// Service is who makes the spans.
type Service struct {
	Name     string // millrace-tester
	Version  string
	Instance string // unique for each process
}

// Telemetry is the tracing of one service. Several may live in one process.
type Telemetry struct {
	provider *sdk.TracerProvider
}

// Open starts tracing. Sink gets each finished span that belongs to a delivery, and
// must not block; it may be nil.
func Open(ctx context.Context, s Service, sink func(Span)) (*Telemetry, error) {
	options := []sdk.TracerProviderOption{
		sdk.WithIDGenerator(planted{}),
		sdk.WithResource(resource.NewSchemaless(
			semconv.ServiceNamespace("millrace"), semconv.ServiceName(s.Name),
			semconv.ServiceVersion(s.Version), semconv.ServiceInstanceID(s.Instance),
			semconv.CICDWorkerID(s.Instance), semconv.CICDWorkerName(s.Instance),
		)),
		sdk.WithSpanProcessor(stamp{}),
	}
	if sink != nil {
		options = append(options, sdk.WithSpanProcessor(toSink{s.Name, sink}))
	}
	if exporting() {
		exporter, err := autoexport.NewSpanExporter(ctx)
		if err != nil {
			return nil, fmt.Errorf("trace exporter: %w", err)
		}
		options = append(options, sdk.WithBatcher(exporter))
		otel.SetErrorHandler(&quiet{})
	}
	return &Telemetry{provider: sdk.NewTracerProvider(options...)}, nil
}

// exporting tells whether the user named an exporter. The libraries' default, OTLP
// to localhost, would flood everybody else with errors.
func exporting() bool {
	for _, name := range []string{"OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"} {
		if _, ok := os.LookupEnv(name); ok { //nolint:forbidigo // the standard variables belong to OpenTelemetry, not to our settings
			return true
		}
	}
	return false
}

// Tracer makes spans.
func (t *Telemetry) Tracer() trace.Tracer {
	return t.provider.Tracer("github.com/millrace-cd/millrace")
}

// Close sends what was not sent yet.
func (t *Telemetry) Close(ctx context.Context) error {
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("flush traces: %w", err)
	}
	return nil
}

// Propagator reads and writes the W3C trace context.
func Propagator() propagation.TextMapPropagator { return propagation.TraceContext{} }

// quiet logs at most one error of the exporters a minute.
type quiet struct {
	mu   sync.Mutex
	last time.Time
}

// Handle implements otel.ErrorHandler.
func (q *quiet) Handle(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if time.Since(q.last) > time.Minute {
		q.last = time.Now()
		slog.Warn("telemetry is not delivered", "err", err)
	}
}

// stamp puts the delivery's attributes on every span, since backends search by span.
type stamp struct{ nothing }

// OnStart implements sdk.SpanProcessor.
func (stamp) OnStart(ctx context.Context, s sdk.ReadWriteSpan) {
	if attrs, ok := ctx.Value(deliveryKey{}).([]attribute.KeyValue); ok {
		s.SetAttributes(attrs...)
	}
}

// nothing is a span processor that does nothing.
type nothing struct{}

func (nothing) OnStart(context.Context, sdk.ReadWriteSpan) {}
func (nothing) OnEnd(sdk.ReadOnlySpan)                     {}
func (nothing) Shutdown(context.Context) error             { return nil }
func (nothing) ForceFlush(context.Context) error           { return nil }

func (toSink) OnStart(context.Context, sdk.ReadWriteSpan) {}
func (toSink) Shutdown(context.Context) error             { return nil }
func (toSink) ForceFlush(context.Context) error           { return nil }

// OnEnd implements sdk.SpanProcessor.
func (t toSink) OnEnd(s sdk.ReadOnlySpan) {
	if span := t.span(s); span.App != "" {
		t.sink(span)
	}
}

// ForTest is a telemetry that hands its spans to p only.
func ForTest(p sdk.SpanProcessor) *Telemetry {
	return &Telemetry{provider: sdk.NewTracerProvider(sdk.WithIDGenerator(planted{}), sdk.WithSpanProcessor(stamp{}), sdk.WithSpanProcessor(p))}
}
