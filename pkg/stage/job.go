package stage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/event"
)

// job is one delivery of one event to this worker.
type job[In event.Event] struct {
	msg     bus.Message
	key     bus.Key // of the result
	in      In
	invalid error // why the event can never be worked on
	attempt int   // counts from 1; without those that were handed back
	worker  string
	started time.Time
	stopped atomic.Bool // the grace period ended

	ctx    context.Context // of the work: the trace, without the service's end
	root   trace.SpanContext
	caller trace.SpanContext
	span   trace.Span // of the stage; nil before it began
}

var errNothingToDo = errors.New("the event leads nowhere")

// open reads msg. What is wrong with the event itself is j.invalid, for the result
// to tell; the error is ours.
func (w *worker[In, Out]) open(ctx context.Context, msg bus.Message) (*job[In], error) {
	j := &job[In]{msg: msg, worker: w.Worker, started: time.Now(), attempt: msg.Delivered}
	a := msg.Address
	j.key = bus.Key{Stage: w.stage, App: a.App, Number: a.Number}
	j.in, j.invalid = read[In](msg)
	if !bus.IsToken(a.App) {
		j.key.App = bus.InvalidApp
	}
	if w.stage == event.StageDeploy {
		j.key.Environment = bus.InvalidApp // until the event says which
	}
	if w.Target != nil && j.invalid == nil {
		env, ok := w.Target(j.in)
		if !ok {
			return j, errNothingToDo
		}
		j.key.Environment = env
	}
	j.join(ctx)
	if msg.Delivered == 1 {
		return j, nil
	}
	n, err := w.bus.HandedBack(ctx, j.key)
	j.attempt = max(1, msg.Delivered-n)
	return j, err
}

// read decodes and checks an event. A commit learns where it was stored.
func read[In event.Event](msg bus.Message) (In, error) {
	var in In
	data, a := msg.Data(), msg.Address
	if len(data) > 2*event.MaxBytes || msg.Address.Kind == "commit" && len(data) > event.MaxBytes {
		return in, fmt.Errorf("the event has %d bytes; at most %d are allowed", len(data), event.MaxBytes)
	}
	if err := json.Unmarshal(data, &in); err != nil {
		return in, readable(err)
	}
	if c, ok := any(&in).(*event.Commit); ok && a.Kind == "commit" {
		if c.App != "" && c.App != a.App {
			return in, fmt.Errorf("the event names app %.80q but stands on the subject of %.80q", c.App, a.App)
		}
		c.App, c.Number, c.Accepted = a.App, a.Number, msg.Stored.UTC()
	}
	c := in.Origin()
	if c.App != a.App || c.Number != a.Number {
		return in, fmt.Errorf("the event tells of %.80s/%d but stands on the subject of %s/%d", c.App, c.Number, a.App, a.Number)
	}
	return in, c.Check()
}

// readable says what is wrong with an event in the words of its writer.
func readable(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field == "" {
		return fmt.Errorf("the event is a JSON %s; it must be an object", wrong.Value)
	}
	if wrong != nil {
		return fmt.Errorf("the event's %q is a %s; it must be a %s", strings.ToLower(wrong.Field), wrong.Value, wrong.Type)
	}
	return fmt.Errorf("the event is not JSON: %w", err)
}

// safe is what a refused event may say of itself: nothing that was not checked.
func (j *job[In]) safe() event.Commit {
	if full := j.in.Origin(); full.Check() == nil && full.App == j.key.App && full.Number == j.key.Number {
		return full
	}
	return event.Commit{App: j.key.App, Number: j.key.Number, Accepted: j.msg.Stored.UTC()}
}

// interrupted tells that the work was stopped by us and not by itself.
func (j *job[In]) interrupted(ctx context.Context) bool { return ctx.Err() != nil && j.stopped.Load() }

func (j *job[In]) progress(what, reason string) event.Progress {
	return event.Progress{
		App: j.key.App, Number: j.key.Number, StageName: j.key.Stage, Environment: j.key.Environment,
		What: what, Attempt: j.attempt, Reason: reason[:min(len(reason), maxReason)], Worker: j.worker,
	}
}
