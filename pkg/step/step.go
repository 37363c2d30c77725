// Package step runs the steps of a pipeline file: those that need nothing first,
// side by side as far as allowed, each in a fresh container with a view of the tree
// that no other step sees.
//
// What a step prints is stored as it comes, without the values of its secrets; its
// begin and end are observed on the bus; it is a span of the delivery's trace, and the
// processes in it can continue that trace. A step that fails lets the others finish,
// unless told otherwise. A step whose inputs are those of one that passed before need
// not run again.
package step

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.opentelemetry.io/otel/trace"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/custody"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/pipeline"
	"github.com/millrace-cd/millrace/pkg/secret"
	"github.com/millrace-cd/millrace/pkg/stage"
	"github.com/millrace-cd/millrace/pkg/store"
	"github.com/millrace-cd/millrace/pkg/workspace"
)

// Runner runs steps on an engine.
type Runner struct {
	Bus     *bus.Bus
	Engine  *container.Engine
	Store   *store.Store
	Secrets *secret.Store
	// Verdicts signs and verifies verdicts that are reused; nil where none are.
	Verdicts Verdicts
	Tracer   trace.Tracer
	Limit    int    // steps at the same time; 4 by default
	Worker   string // for the observations
	TempDir  string
}

// Verdicts makes verdicts something that only a tester can give.
type Verdicts interface {
	SignVerdict(app, inputs string, v custody.Verdict) ([]byte, error)
	VerifyVerdict(app, inputs string, data []byte) (custody.Verdict, error)
}

// Group are the steps of one stage of one delivery.
type Group struct {
	Owner   container.Owner // without step
	Commit  event.Commit
	Session *container.Session         // of the steps that have no services of their own
	Trees   Trees                      // what the steps see at /workspace
	Tree    string                     // a digest of that
	Steps   []pipeline.Step            // in the file's order; variables not yet filled in
	Vars    pipeline.Vars              // of the delivery
	Images  map[string]container.Image // by the names in the file
	// OneNetwork lets the steps' services run on the network of Session, where what is
	// tested runs, instead of one of each step's own.
	OneNetwork bool
	// Bare steps see no tree: they run what their image has, where it says.
	Bare bool
	// Tail is how many lines of its output the reason of a failure tells.
	Tail int
	// FailFast lets a failure stop the others.
	FailFast bool
	// Reuse takes verdicts of earlier deliveries for steps with the same inputs.
	Reuse bool
	// Begin is called while the steps are being prepared; none runs before it is done,
	// and none at all where it fails. It may be nil.
	Begin func(ctx context.Context) error
	// Done is called with the view of a step that succeeded, before that is removed.
	// The first error is the commit's fault, the second ours.
	Done func(ctx context.Context, name string, v *workspace.View) (theirs, ours error)
}

// Trees gives the tree to run on; shared where the step's user is not root.
type Trees func(ctx context.Context, shared bool) (*workspace.Tree, error)

// Run runs all steps of g and tells how each ended, in the order in which they could
// run, with the variants of a matrix one after another. The error is ours: then what is
// told is what is known so far.
func (r *Runner) Run(ctx context.Context, g Group) ([]event.Step, error) {
	limit := r.Limit
	if limit < 1 {
		limit = 4
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &work{Runner: r, Group: g, slots: make(chan struct{}, limit), cancel: cancel, budget: bus.NewBudget(bus.MaxLogs)}
	if err := w.plan(); err != nil {
		return nil, err
	}
	begun := w.begin(ctx)
	for _, s := range w.steps {
		w.prepare(ctx, s)
	}
	if err := <-begun; err != nil {
		for _, s := range w.steps {
			s.first.end(ctx)
		}
		return nil, err
	}
	var all sync.WaitGroup
	for _, s := range w.steps {
		all.Go(func() { w.take(ctx, s) })
	}
	all.Wait()
	results := make([]event.Step, 0, len(w.steps))
	var ours []error
	for _, s := range w.steps {
		results = append(results, s.result)
		ours = append(ours, s.ours)
	}
	// Steps that were skipped since we were stopped must not look as if they had passed.
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, errFailFast) {
		ours = append(ours, cause)
	}
	return fit(results), errors.Join(ours...)
}

// Services starts services on the session of g, all at once, and waits until they are
// ready. That one does not get ready is the commit's fault.
func (r *Runner) Services(ctx context.Context, g Group, services map[string]*pipeline.Service, order []string) error {
	w := &work{Runner: r, Group: g}
	err := w.startServices(ctx, g.Session, pipeline.Step{Name: g.Owner.Stage, Services: services, ServiceOrder: order})
	if unready := new(container.NotReady); errors.As(err, &unready) {
		return stage.Fail("%w", err)
	}
	return err
}

// SecretsOf are the values of the names that something of g asks for.
func (r *Runner) SecretsOf(g Group, names map[string]string) (secret.Values, error) {
	return (&work{Runner: r, Group: g}).secrets(names)
}

// begin calls Begin and tells of its end.
func (w *work) begin(ctx context.Context) <-chan error {
	begun := make(chan error, 1)
	if w.Begin == nil {
		begun <- nil
		return begun
	}
	go func() { begun <- w.Begin(ctx) }() // whoever gets the channel waits for it
	return begun
}

// work is one call of [Runner.Run].
type work struct {
	*Runner
	Group
	steps  []*one
	slots  chan struct{}
	cancel context.CancelCauseFunc
	budget *bus.Budget // of all their logs
}

// Failure tells what failed among results that count; nil where nothing did.
func Failure(results []event.Step) error {
	var failed []error
	for _, s := range results {
		if s.Result != event.ResultSuccess && s.Result != event.ResultSkipped && !s.Optional {
			failed = append(failed, fmt.Errorf("step %s: %s", s.Name, s.Reason))
		}
	}
	return errors.Join(failed...)
}
