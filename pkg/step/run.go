package step

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/stage"
	"github.com/millrace-cd/millrace/pkg/telemetry"
)

// prepare lets the step's container come into being, so that it waits for its turn
// and not the other way round. What goes wrong is told when the turn comes.
func (o *one) prepare(ctx context.Context, g Group, lane int) {
	o.span = telemetry.Plan(ctx)
	spec := container.Step{
		Name: bus.Token(o.name), Attempt: g.Owner.Attempt, Image: g.Images[o.spec.Image].Pinned,
		Run: o.spec.Run, Shell: o.spec.Shell, User: o.spec.User, Env: o.env(g, traceEnv(o.span)),
		Limits:  container.Limits{CPU: o.spec.Resources.CPU, Memory: o.spec.Resources.Memory, Pids: o.spec.Resources.Pids},
		Strict:  o.spec.Sandbox == "strict",
		Network: o.spec.Network, Timeout: o.spec.Timeout, Lane: lane, Removed: o.release,
	}
	o.holds.Store(2) // the container's and ours
	if o.ours = o.workspace(ctx, g, &spec); o.ours != nil {
		return
	}
	o.prepared = g.Session.Step(ctx, spec)
}

// workspace gives the step its own view of the tree.
func (o *one) workspace(ctx context.Context, g Group, spec *container.Step) error {
	if g.Trees == nil {
		spec.Workdir = o.spec.Workdir
		return nil
	}
	tree, err := g.Trees(ctx, !root(o.spec.User, g.Images[o.spec.Image].User))
	if err != nil {
		return err
	}
	if o.view, err = tree.View(fmt.Sprintf("%s-%d-%s-%d", g.Owner.App, g.Owner.Delivery, bus.Token(o.name), time.Now().UnixNano())); err != nil {
		return err
	}
	spec.Workspace = &container.Overlay{Lower: o.view.Lower, Upper: o.view.Upper, Work: o.view.Work, UserXattr: o.view.UserXattr}
	spec.Workdir = o.spec.Workdir
	if !path.IsAbs(spec.Workdir) {
		spec.Workdir = path.Join(g.Path, spec.Workdir)
	}
	return nil
}

// release lets go of the view; the last of its two holders removes it.
func (o *one) release() {
	if o.holds.Add(-1) == 0 && o.view != nil {
		_ = o.view.Remove() // what stays is swept with the old views
	}
}

// root tells whether a step runs as root: then the tree is as git has it, else one
// that any user may write to.
func root(users ...string) bool {
	for _, u := range users {
		if u != "" {
			return u == "root" || u == "0" || u == "0:0" || u == "root:root"
		}
	}
	return true
}

// take waits for what the step needs and for a slot, and runs it.
func (o *one) take(ctx context.Context, cancel context.CancelCauseFunc, r *Runner, g Group, slots chan struct{}) {
	defer close(o.done)
	defer o.release()
	if reason := o.await(ctx, slots); reason != "" {
		o.finish(ctx, r, g, event.ResultSkipped, reason)
		return
	}
	defer func() { <-slots }()
	if o.ours == nil {
		o.ours = o.run(ctx, r, g)
	}
	switch {
	case o.ours != nil && errors.Is(context.Cause(ctx), errFailFast):
		o.ours = nil
		o.finish(ctx, r, g, event.ResultSkipped, errFailFast.Error())
	case o.ours != nil:
		if _, ends := stage.Outcome(o.ours); !ends {
			cancel(o.ours) // nobody will ask for the others' results
		}
		o.finish(ctx, r, g, event.ResultError, o.ours.Error())
	case o.result.Result == event.ResultFailure && g.FailFast && !o.spec.Optional:
		cancel(errFailFast)
	}
}

// await returns when the step may run, or why it never will.
func (o *one) await(ctx context.Context, slots chan struct{}) (reason string) {
	for _, n := range o.needs {
		<-n.done
		if n.result.Result != event.ResultSuccess && !n.spec.Optional {
			return fmt.Sprintf("it needs %s, which did not succeed", n.name)
		}
	}
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx).Error()
	}
	if err := context.Cause(ctx); err != nil {
		<-slots
		return err.Error()
	}
	return ""
}

// run runs the step and keeps what it prints. The error is ours.
func (o *one) run(ctx context.Context, r *Runner, g Group) error {
	o.began = time.Now()
	o.note(r, g, event.StepStarted)
	log := r.Bus.Log(ctx, bus.LogKey{Stage: g.Owner.Stage, App: g.Owner.App, Number: g.Owner.Delivery, Step: o.name, Attempt: g.Owner.Attempt, Try: 1})
	exit, err := o.prepared.Run(ctx, log)
	if err == nil {
		o.judge(ctx, r, g, exit)
	}
	return errors.Join(err, log.Close(o.result.Result))
}

// judge says what an exit means.
func (o *one) judge(ctx context.Context, r *Runner, g Group, exit container.Exit) {
	o.result.ExitCode = exit.Code
	reason := ""
	switch {
	case exit.TimedOut:
		reason = fmt.Sprintf("stopped after its timeout of %s", o.spec.Timeout)
	case exit.OOM:
		reason = fmt.Sprintf("killed: it used more memory than its limit of %s", memory(o.spec.Resources.Memory))
	case exit.Code != 0:
		reason = fmt.Sprintf("exited with %d", exit.Code)
	case g.Done != nil:
		if err := g.Done(o.name, o.view); err != nil {
			reason = err.Error()
		}
	}
	if reason == "" {
		o.finish(ctx, r, g, event.ResultSuccess, "")
		return
	}
	o.finish(ctx, r, g, event.ResultFailure, reason)
}

func memory(bytes int64) string {
	if bytes == 0 {
		bytes = 2 << 30 // the engine package's default
	}
	return fmt.Sprintf("%d MiB", bytes>>20)
}

// finish settles the result, for the event, the observers and the trace. A step
// that was skipped leaves no span.
func (o *one) finish(ctx context.Context, r *Runner, g Group, result, reason string) {
	o.result.Result, o.result.Reason = result, reason
	failure := reason
	if result == event.ResultSuccess {
		failure = ""
	}
	if !o.began.IsZero() {
		o.result.Seconds = time.Since(o.began).Round(time.Millisecond).Seconds()
		telemetry.EmitPlanned(ctx, r.Tracer, o.span, "step "+o.name, o.began, failure,
			semconv.CICDPipelineTaskName(o.name), semconv.CICDPipelineTaskRunResultKey.String(result),
			semconv.ContainerImageName(o.spec.Image), semconv.ProcessExitCode(o.result.ExitCode))
	}
	o.note(r, g, event.StepFinished)
}

func (o *one) note(r *Runner, g Group, what string) {
	r.Bus.Note(event.Progress{
		App: g.Owner.App, Number: g.Owner.Delivery, StageName: g.Owner.Stage, Environment: g.Owner.Environment,
		What: what, Attempt: g.Owner.Attempt, Worker: r.Worker, Step: o.result,
	})
}

// traceEnv lets the processes of the step continue the trace.
func traceEnv(span trace.SpanContext) map[string]string {
	carrier := propagation.MapCarrier{}
	telemetry.Propagator().Inject(trace.ContextWithSpanContext(context.Background(), span), carrier)
	env := map[string]string{}
	for from, to := range map[string]string{"traceparent": "TRACEPARENT", "tracestate": "TRACESTATE"} {
		if v := carrier[from]; v != "" {
			env[to] = v
		}
	}
	return env
}
