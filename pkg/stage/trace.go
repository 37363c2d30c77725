package stage

import (
	"context"
	"strconv"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/telemetry"
)

// join puts the job into its delivery's trace: below the root, which nobody has
// emitted yet.
func (j *job[In]) join(ctx context.Context) {
	header := bus.Carrier(j.msg.Headers())
	commit := j.safe()
	from := bus.HeaderParent
	if j.msg.Address.Kind == "commit" {
		from = bus.HeaderHop // the publisher's own span is what called for this delivery
	}
	j.caller = telemetry.Parse(header.Get(from), header.Get(bus.HeaderState))
	j.root = telemetry.Root(commit, j.caller)
	ctx = telemetry.WithDelivery(context.WithoutCancel(ctx), commit)
	j.ctx = trace.ContextWithRemoteSpanContext(ctx, j.root)
}

// begin starts the stage's span, which is at once the message's process span and
// the pipeline's task run.
func (w *worker[In, Out]) begin(j *job[In]) {
	hop := telemetry.Parse(bus.Carrier(j.msg.Headers()).Get(bus.HeaderHop), "")
	opts := []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithTimestamp(j.started),
		trace.WithAttributes(
			semconv.CICDPipelineTaskName(w.stage), semconv.CICDPipelineTaskRunID(j.key.String()),
			semconv.MessagingSystemKey.String("nats"), semconv.MessagingOperationName("process"), semconv.MessagingOperationTypeKey.String("process"),
			semconv.MessagingDestinationName(j.msg.Subject()), semconv.MessagingConsumerGroupName(w.stage),
			attribute.Int("millrace.attempt", j.attempt), taskType(w.stage),
		),
	}
	if hop.IsValid() && j.msg.Address.Kind != "commit" {
		opts = append(opts, trace.WithLinks(trace.Link{SpanContext: hop}))
	}
	name := w.stage
	if j.key.Environment != "" {
		name += " " + j.key.Environment
		opts = append(opts, trace.WithAttributes(semconv.DeploymentEnvironmentNameKey.String(j.key.Environment)))
	}
	j.ctx, j.span = w.Tracer.Start(j.ctx, name, opts...)
	if j.attempt == 1 {
		_, queued := w.Tracer.Start(j.ctx, "queued", trace.WithTimestamp(j.msg.Stored))
		queued.End(trace.WithTimestamp(j.started))
	}
}

func taskType(stage string) attribute.KeyValue {
	switch stage {
	case event.StageTest:
		return semconv.CICDPipelineTaskTypeTest
	case event.StageBuild:
		return semconv.CICDPipelineTaskTypeBuild
	case event.StageDeploy:
		return semconv.CICDPipelineTaskTypeDeploy
	}
	return semconv.CICDPipelineTaskTypeKey.String(stage)
}

// publish records the result under a span of its own, whose context the message
// carries to the next stage.
func (w *worker[In, Out]) publish(ctx context.Context, j *job[In], e event.Event, r event.Result) (event.Fact, bool, error) {
	ctx = trace.ContextWithSpan(telemetry.WithDelivery(ctx, j.safe()), j.span)
	ctx, span := w.Tracer.Start(ctx, "publish "+w.stage+"."+string(r.Outcome), trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithAttributes(semconv.MessagingSystemKey.String("nats"), semconv.MessagingOperationName("publish"), semconv.MessagingMessageID(strconv.FormatUint(j.key.Number, 10))))
	defer span.End()
	header := nats.Header{}
	telemetry.Propagator().Inject(ctx, bus.Carrier(header))
	header[bus.HeaderRoot] = []string{telemetry.Format(j.root)}
	if j.caller.IsValid() {
		header[bus.HeaderParent] = []string{telemetry.Format(j.caller)}
	}
	return w.bus.Record(ctx, j.key, e, r, header)
}

// finish ends the stage's span, and with the delivery's last one its root.
func (w *worker[In, Out]) finish(j *job[In], fact event.Fact, first bool) {
	telemetry.SetOutcome(j.span, fact.Outcome, fact.Reason)
	j.span.SetAttributes(telemetry.TaskResult(fact.Outcome))
	j.span.End()
	if first && fact.Ends() {
		telemetry.EmitRoot(context.WithoutCancel(j.ctx), w.Tracer, j.root, j.caller, fact)
	}
}

// end ends the span of an attempt that came to no result; err is why, if known.
func (j *job[In]) end(err error) {
	if j.span == nil || !j.span.IsRecording() {
		return
	}
	if err != nil {
		j.span.SetStatus(codes.Error, text(err))
	}
	j.span.End()
}
