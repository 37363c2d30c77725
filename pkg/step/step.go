// Package step runs the steps of a pipeline file: those that need nothing first,
// side by side as far as allowed, each in a fresh container with a view of the tree
// that no other step sees.
//
// What a step prints is stored as it comes; its begin and end are observed on the
// bus; it is a span of the delivery's trace, and the processes in it can continue
// that trace. A step that fails lets the others finish, unless told otherwise.
package step

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/pipeline"
	"github.com/millrace-cd/millrace/pkg/workspace"
)

// Runner runs steps on an engine.
type Runner struct {
	Bus    *bus.Bus
	Engine *container.Engine
	Tracer trace.Tracer
	Limit  int    // steps at the same time; 4 by default
	Worker string // for the observations
}

// Group are the steps of one stage of one delivery.
type Group struct {
	Owner    container.Owner // without step
	Session  *container.Session
	Trees    Trees                      // what the steps see at /workspace; nil for nothing
	Path     string                     // directory of the tree that steps begin in
	Steps    []pipeline.Step            // in the file's order; variables not yet filled in
	Vars     pipeline.Vars              // of the delivery
	Images   map[string]container.Image // by the names in the file
	Env      map[string]string          // besides the steps' own
	FailFast bool                       // a failure stops the others
	// Done is called with the view of a step that succeeded, before that is removed.
	// Its error counts as the step's.
	Done func(name string, v *workspace.View) error
}

// Trees gives the tree to run on; shared where the step's user is not root.
type Trees func(ctx context.Context, shared bool) (*workspace.Tree, error)

// Run runs all steps of g and tells how each ended, in the file's order with the
// variants of a matrix one after another. The error is ours: then what is told is
// what is known so far.
func (r *Runner) Run(ctx context.Context, g Group) ([]event.Step, error) {
	plan, err := newPlan(g)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limit := r.Limit
	if limit < 1 {
		limit = 4
	}
	slots := make(chan struct{}, limit)
	for i, s := range plan.steps {
		s.prepare(ctx, g, i%limit)
	}
	var all sync.WaitGroup
	for _, s := range plan.steps {
		all.Go(func() { s.take(ctx, cancel, r, g, slots) })
	}
	all.Wait()
	var results []event.Step
	var ours []error
	for _, s := range plan.steps {
		results = append(results, s.result)
		ours = append(ours, s.ours)
	}
	return results, errors.Join(ours...)
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

// one is a step's run: a variant where the step has a matrix.
type one struct {
	name     string
	spec     pipeline.Step
	vars     pipeline.Vars
	needs    []*one
	view     *workspace.View
	holds    atomic.Int32 // of the view
	prepared *container.Prepared
	span     trace.SpanContext // planned
	began    time.Time

	done   chan struct{} // closed when result is set
	result event.Step
	ours   error // why the result is not known
}

var errFailFast = errors.New("another step failed")
