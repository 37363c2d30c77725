package telemetry

import (
	"context"
	"crypto/rand"

	"go.opentelemetry.io/otel/trace"
)

type plantKey struct{}

// plant decides the ids of the one span that is started with the context.
func plant(ctx context.Context, sc trace.SpanContext) context.Context {
	return context.WithValue(ctx, plantKey{}, sc)
}

// planted generates random ids, unless the context says which.
type planted struct{}

// NewIDs implements sdk.IDGenerator: for a span without parent.
func (planted) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if sc, ok := ctx.Value(plantKey{}).(trace.SpanContext); ok {
		return sc.TraceID(), sc.SpanID()
	}
	var t trace.TraceID
	_, _ = rand.Read(t[:])
	return t, newSpanID()
}

// NewSpanID implements sdk.IDGenerator: for a span with parent.
func (planted) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	if sc, ok := ctx.Value(plantKey{}).(trace.SpanContext); ok {
		return sc.SpanID()
	}
	return newSpanID()
}

func newSpanID() (s trace.SpanID) {
	_, _ = rand.Read(s[:]) // never fails
	return s
}
