package step

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"sync/atomic"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/secret"
	"github.com/millrace-cd/millrace/pkg/telemetry"
	"github.com/millrace-cd/millrace/pkg/workspace"
)

// try is one run of a step in a container of its own.
type try struct {
	w *work
	o *one
	n int // counts from 1

	span     trace.SpanContext // planned
	view     *workspace.View
	holds    atomic.Int32       // of the view: the container's and ours
	session  *container.Session // of its own where the step has services
	services chan error         // tells when they are ready, or why not
	prepared *container.Prepared
	over     atomic.Bool
}

// newTry makes the step's view and lets its services and its container come into being.
func (w *work) newTry(ctx context.Context, o *one, n int) (*try, error) {
	t := &try{w: w, o: o, n: n, span: telemetry.Plan(ctx)}
	t.holds.Store(2)
	session, err := t.connect(ctx)
	if err == nil {
		err = t.furnish(ctx)
	}
	if err != nil {
		t.holds.Store(1) // there will be no container
		t.end(ctx)
		return nil, err
	}
	t.prepared = session.Step(ctx, t.container())
	return t, nil
}

// container is what the engine is asked for.
func (t *try) container() container.Step {
	s := t.o.spec
	spec := container.Step{
		Name: bus.Token(t.o.name), Attempt: t.w.Owner.Attempt, Image: t.w.Images[s.Image].Pinned,
		Run: s.Run, Shell: s.Shell, User: s.User, Env: t.env(), Secrets: t.o.secrets,
		Limits: Limits(s.Resources), Strict: s.Sandbox == "strict", Network: s.Network, Timeout: s.Timeout,
		Lane: t.o.lane, Mounts: t.o.caches, Removed: t.release, Workdir: s.Workdir,
	}
	if t.view != nil {
		spec.Workspace = &container.Overlay{Lower: t.view.Lower, Upper: t.view.Upper, Work: t.view.Work, UserXattr: t.view.UserXattr}
	}
	if t.view != nil && !path.IsAbs(spec.Workdir) {
		spec.Workdir = path.Join(t.w.Commit.Path, spec.Workdir)
	}
	if t.session != nil {
		spec.Lane, spec.Network = 0, true // the session's own network says what is reached
	}
	return spec
}

// furnish makes the view of the tree.
func (t *try) furnish(ctx context.Context) error {
	if t.w.Bare {
		return nil
	}
	s := t.o.spec
	tree, err := t.w.Trees(ctx, !root(s.User, t.w.Images[s.Image].User))
	if err != nil {
		return err
	}
	t.view, err = tree.View(t.w.viewName(bus.Token(t.o.name)))
	return err
}

// viewName names a view for people, once, and within what a view's name may be long.
func (w *work) viewName(what string) string {
	return fmt.Sprintf("%.40s-%d-%.40s-%s", w.Owner.App, w.Owner.Delivery, what, bus.Random())
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

// env is what the step's processes find in their environment, by which they can also
// continue the trace.
func (t *try) env() map[string]string {
	env := t.o.vars.Env()
	carrier := propagation.MapCarrier{}
	telemetry.Propagator().Inject(trace.ContextWithSpanContext(context.Background(), t.span), carrier)
	for from, to := range map[string]string{"traceparent": "TRACEPARENT", "tracestate": "TRACESTATE"} {
		if v := carrier[from]; v != "" {
			env[to] = v
		}
	}
	maps.Copy(env, t.o.spec.Env)
	return env
}

// run runs the step and says what it came to. The error is ours.
func (t *try) run(ctx context.Context) (verdict, error) {
	defer t.end(ctx)
	log := t.w.Bus.Log(ctx, bus.LogKey{
		Stage: t.w.Owner.Stage, App: t.w.Owner.App, Number: t.w.Owner.Delivery, Step: t.o.name, Attempt: t.w.Owner.Attempt, Try: t.n,
	}, t.w.budget)
	last := &lastLines{most: t.w.Tail}
	out := secret.Mask(io.MultiWriter(log, last), t.o.secrets.List())
	v, err := t.judged(ctx, out)
	ended := out.Close()
	if v.reason != "" {
		v.reason += last.String()
		v.reason = secret.MaskString(v.reason, t.o.secrets.List())
	}
	result := event.ResultSuccess
	if v.reason != "" {
		result = event.ResultFailure
	}
	return v, errors.Join(err, ended, log.Close(result))
}

// judged waits for the services, runs the container and reads what it left.
func (t *try) judged(ctx context.Context, out *secret.Masker) (verdict, error) {
	if t.services != nil {
		select {
		case err := <-t.services:
			if unready := new(container.NotReady); errors.As(err, &unready) {
				return verdict{reason: err.Error()}, nil
			}
			if err != nil {
				return verdict{}, err
			}
		case <-ctx.Done():
			return verdict{}, ctx.Err()
		}
	}
	exit, err := t.prepared.Run(ctx, out)
	if errors.Is(err, container.ErrStep) || errors.Is(err, container.ErrNoImage) {
		return verdict{reason: err.Error()}, nil
	}
	if err != nil {
		return verdict{}, err
	}
	return t.judge(ctx, exit)
}

// end lets go of everything, once. It may be called on what never was.
func (t *try) end(ctx context.Context) {
	if t == nil || t.over.Swap(true) {
		return
	}
	if t.session != nil {
		t.session.Close(ctx)
	}
	t.release()
}

// release lets go of the view; the last of its two holders removes it.
func (t *try) release() {
	if t.holds.Add(-1) == 0 && t.view != nil {
		_ = t.view.Remove() // what stays is swept with the old views
	}
}
