package telemetry

import (
	"strconv"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// Span is a finished span of a delivery, as millrace itself shows it.
type Span struct {
	TraceID    string            `json:"traceId"`
	ID         string            `json:"spanId"`
	Parent     string            `json:"parentSpanId,omitempty"`
	Name       string            `json:"name"`
	Kind       string            `json:"kind"` // server, client, producer, consumer, internal
	Service    string            `json:"service"`
	Start      time.Time         `json:"start"`
	End        time.Time         `json:"end"`
	Error      string            `json:"error,omitempty"` // why, where the status is an error
	Attributes map[string]string `json:"attributes,omitempty"`
	Links      []string          `json:"links,omitempty"` // span ids

	App    string `json:"-"` // of the delivery
	Number uint64 `json:"-"`
}

// toSink hands finished spans of deliveries on.
type toSink struct {
	service string
	sink    func(Span)
}

func (t toSink) span(s sdk.ReadOnlySpan) Span {
	out := Span{
		TraceID: s.SpanContext().TraceID().String(), ID: s.SpanContext().SpanID().String(),
		Name: s.Name(), Kind: s.SpanKind().String(), Service: t.service,
		Start: s.StartTime().UTC(), End: s.EndTime().UTC(), Attributes: map[string]string{},
	}
	if s.Parent().IsValid() {
		out.Parent = s.Parent().SpanID().String()
	}
	if s.Status().Code == codes.Error {
		out.Error = s.Status().Description
	}
	for _, l := range s.Links() {
		out.Links = append(out.Links, l.SpanContext.SpanID().String())
	}
	for _, a := range s.Attributes() {
		switch a.Key {
		case semconv.CICDPipelineNameKey:
			out.App = a.Value.AsString()
		case semconv.CICDPipelineRunIDKey:
			out.Number, _ = strconv.ParseUint(a.Value.AsString(), 10, 64)
		}
		out.Attributes[string(a.Key)] = a.Value.String()
	}
	return out
}
