package step

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/stage"
	"github.com/millrace-cd/millrace/pkg/telemetry"
)

var errFailFast = errors.New("another step failed")

// prepare lets what the step runs in come into being, so that it waits for its turn and
// not the other way round. What goes wrong is told when the turn comes.
func (w *work) prepare(ctx context.Context, o *one) {
	if w.Reuse {
		o.key, o.ours = w.verdictKey(ctx, o)
		if o.ours != nil || w.reuse(ctx, o) {
			return
		}
	}
	if o.ours = w.cache(ctx, o); o.ours != nil {
		return
	}
	if len(o.needs) > 0 && len(o.spec.Services) > 0 {
		return // databases are dear, and may not be needed
	}
	o.first, o.ours = w.newTry(ctx, o, 1)
}

// take waits for what the step needs and for a slot, and runs it.
func (w *work) take(ctx context.Context, o *one) {
	defer close(o.done)
	defer func() { o.first.end(ctx) }() // o.first may still be made
	if reason := w.await(ctx, o); reason != "" {
		w.finish(ctx, o, event.ResultSkipped, reason)
		return
	}
	defer func() { <-w.slots }()
	if o.ours == nil {
		o.ours = w.run(ctx, o)
	}
	switch {
	case o.ours != nil && errors.Is(context.Cause(ctx), errFailFast):
		o.ours = nil
		w.finish(ctx, o, event.ResultSkipped, errFailFast.Error())
	case o.ours != nil:
		if _, ends := stage.Outcome(o.ours); !ends {
			w.cancel(o.ours) // nobody will ask for the others' results
		}
		w.finish(ctx, o, event.ResultError, o.ours.Error())
	case o.result.Result == event.ResultFailure && w.FailFast && !o.spec.Optional:
		w.cancel(errFailFast)
	}
}

// await returns when the step may run, or why it never will.
func (w *work) await(ctx context.Context, o *one) (reason string) {
	for _, n := range o.needs {
		<-n.done
		if n.result.Result != event.ResultSuccess && !n.spec.Optional {
			return fmt.Sprintf("it needs %s, which did not succeed", n.name)
		}
	}
	select {
	case w.slots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx).Error()
	}
	if err := context.Cause(ctx); err != nil {
		<-w.slots
		return err.Error()
	}
	return ""
}

// run tries the step as often as it may be tried. The error is ours.
func (w *work) run(ctx context.Context, o *one) error {
	o.began = time.Now()
	if o.result.Reused != nil {
		w.finish(ctx, o, event.ResultSuccess, "")
		return nil
	}
	w.note(o, event.StepStarted)
	if o.first == nil {
		first, err := w.newTry(ctx, o, 1)
		if err != nil {
			return err
		}
		o.first = first
	}
	for t := o.first; ; {
		v, err := t.run(ctx)
		if err != nil {
			return err
		}
		o.result = v.on(o.result)
		if t.n > 1 {
			o.result.Tries, o.result.Flaky = t.n, v.reason == ""
		}
		if v.reason == "" {
			w.finish(ctx, o, event.ResultSuccess, "")
			return w.keep(ctx, o)
		}
		if t.n > o.spec.Retries {
			w.finish(ctx, o, event.ResultFailure, v.reason)
			return nil
		}
		next, err := w.newTry(ctx, o, t.n+1)
		if err != nil {
			return err
		}
		defer next.end(ctx)
		t = next
	}
}

// finish settles the result, for the event, the observers and the trace, which also
// tells of reused verdicts. A step that was skipped leaves no span.
func (w *work) finish(ctx context.Context, o *one, result, reason string) {
	o.result.Result, o.result.Reason = result, reason
	failure := reason
	if result == event.ResultSuccess {
		failure = ""
	}
	attributes := []attribute.KeyValue{
		semconv.CICDPipelineTaskName(o.name), semconv.CICDPipelineTaskRunResultKey.String(result),
		semconv.ContainerImageName(o.spec.Image), semconv.ProcessExitCode(o.result.ExitCode),
	}
	switch {
	case o.result.Reused != nil:
		attributes = append(attributes, attribute.Int64("millrace.reused.delivery", int64(o.result.Reused.Number)), attribute.String("millrace.reused.commit", o.result.Reused.Commit)) //nolint:gosec // numbers of deliveries are small
		telemetry.EmitPlanned(ctx, w.Tracer, telemetry.Plan(ctx), fmt.Sprintf("step %s (reused from delivery %d)", o.name, o.result.Reused.Number), o.began, failure, attributes...)
	case !o.began.IsZero() && o.first != nil:
		o.result.Seconds = time.Since(o.began).Round(time.Millisecond).Seconds()
		telemetry.EmitPlanned(ctx, w.Tracer, o.first.span, "step "+o.name, o.began, failure, attributes...)
	}
	w.note(o, event.StepFinished)
}

func (w *work) note(o *one, what string) {
	w.Bus.Note(event.Progress{
		App: w.Owner.App, Number: w.Owner.Delivery, StageName: w.Owner.Stage, Environment: w.Owner.Environment,
		What: what, Attempt: w.Owner.Attempt, Worker: w.Worker, Step: o.result,
	})
}
