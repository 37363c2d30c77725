package stage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/event"
)

// maxReason is how much of a reason a fact keeps, in bytes.
const maxReason = 4 << 10

type worker[In, Out event.Event] struct {
	Options[In]
	bus   *bus.Bus
	run   Func[In, Out]
	stage string
	log   *slog.Logger
}

// handle takes one event through the stage and settles it.
func (w *worker[In, Out]) handle(ctx context.Context, msg bus.Message) {
	settle := context.WithoutCancel(ctx) // a stopping service still settles what it finished
	j, err := w.open(settle, msg)
	if errors.Is(err, errNothingToDo) {
		_ = msg.DoubleAck(settle)
		return
	}
	log := w.log.With("delivery", j.key.Number, "app", j.key.App, "attempt", j.attempt)
	if err == nil {
		err = w.settle(ctx, j, log)
	}
	if err != nil {
		log.Warn("will try again", "err", err)
		w.bus.Note(j.progress(event.Retrying, err.Error()))
		_ = msg.NakWithDelay(w.Retry(min(j.attempt, Attempts)))
	}
}

// settle works on the job until it has a result, and acknowledges. An error means
// that there is none yet.
func (w *worker[In, Out]) settle(ctx context.Context, j *job[In], log *slog.Logger) error {
	settle := context.WithoutCancel(ctx)
	stop := heartbeat(j.msg.InProgress, j.msg.AckWait/3)
	defer j.end(nil)
	out, err := w.outcome(ctx, j)
	if err == nil && !out.known {
		err = w.record(settle, j, out, log)
	}
	stop()
	if errors.As(err, new(errHandedBack)) {
		return w.handBack(settle, j, log)
	}
	if err != nil {
		j.end(err)
		return err
	}
	if err := j.msg.DoubleAck(settle); err != nil {
		log.Warn("not acknowledged: will repeat, to no effect", "err", err)
	}
	return nil
}

// result is what a stage came to.
type result[Out event.Event] struct {
	out     Out
	outcome event.Outcome
	reason  string
	known   bool // it was there before we began
}

// outcome runs the stage. An error means that there is no outcome yet.
func (w *worker[In, Out]) outcome(ctx context.Context, j *job[In]) (result[Out], error) {
	if _, found, err := w.bus.Result(context.WithoutCancel(ctx), j.key); err != nil || found {
		return result[Out]{known: true}, err
	}
	w.begin(j)
	if j.invalid != nil {
		return result[Out]{outcome: event.Refused, reason: text(j.invalid)}, nil
	}
	if j.attempt > Attempts { // no attempt lived to report: the event takes its process down
		return result[Out]{outcome: event.Errored, reason: fmt.Sprintf("gave up after %d attempts: each ended without a word, as if its process was killed", Attempts)}, nil
	}
	w.bus.Note(j.progress(event.Started, ""))
	out, err := w.attempt(ctx, j)
	if outcome, ends := Outcome(err); ends {
		return result[Out]{out: out, outcome: outcome, reason: text(err)}, nil
	}
	if j.interrupted(ctx) {
		return result[Out]{}, errHandedBack{err}
	}
	if j.attempt == Attempts {
		return result[Out]{out: out, outcome: event.Errored, reason: fmt.Sprintf("gave up after %d attempts: %s", Attempts, text(err))}, nil
	}
	return result[Out]{}, err
}

// attempt runs the stage's function, which outlives ctx by the grace period.
func (w *worker[In, Out]) attempt(ctx context.Context, j *job[In]) (out Out, err error) {
	work, cancel := context.WithCancel(j.ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		select {
		case <-time.After(w.Grace):
			j.stopped.Store(true)
			cancel()
		case <-work.Done():
		}
	})()
	defer func() {
		if r := recover(); r != nil {
			w.log.Error("panic", "delivery", j.key.Number, "value", r, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v (its stack is in the service's log)", r)
		}
	}()
	return w.run(work, Job[In]{Event: j.in, Stored: j.msg.Stored, Environment: j.key.Environment, Attempt: j.attempt})
}

// record publishes the result, and ends the delivery's trace where it was the last.
func (w *worker[In, Out]) record(ctx context.Context, j *job[In], r result[Out], log *slog.Logger) error {
	var e event.Event = r.out
	if r.out.Origin().Hash == "" { // the stage had nothing to say: what it was given stands
		e = j.in
	}
	if j.invalid != nil {
		e = j.safe()
	}
	res := event.Result{
		StageName: w.stage, Outcome: r.outcome, Reason: r.reason, Attempt: j.attempt, Worker: w.Worker,
		Queued: j.msg.Stored.UTC(), Started: j.started.UTC(), Finished: time.Now().UTC(),
	}
	fact, first, err := w.publish(ctx, j, e, res)
	if errors.Is(err, event.ErrTooLarge) { // no attempt can make it smaller
		res.Outcome, res.Reason = event.Errored, err.Error()
		fact, first, err = w.publish(ctx, j, j.safe(), res)
	}
	if err != nil {
		return err
	}
	w.finish(j, fact, first)
	if !first {
		log.Warn("somebody else was first: this result counts for nothing", "outcome", r.outcome, "stands", fact.Outcome, "worker", fact.Worker)
		return nil
	}
	log.Info("done", "outcome", r.outcome, "reason", r.reason, "seconds", time.Since(j.started).Seconds())
	return nil
}

// handBack returns an event that a stopping service could not finish. It costs no
// attempt.
func (w *worker[In, Out]) handBack(ctx context.Context, j *job[In], log *slog.Logger) error {
	log.Info("handed back: the service stops")
	if err := w.bus.HandBack(ctx, j.key); err != nil {
		log.Warn("hand-back is not counted: costs an attempt", "err", err)
	}
	_ = j.msg.Nak()
	return nil
}

type errHandedBack struct{ error }

// heartbeat tells the server, until stopped, that the event is being worked on.
func heartbeat(beat func() error, every time.Duration) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = beat()
			case <-done:
				return
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// text is a reason, cut to what a fact keeps.
func text(err error) string {
	if err == nil {
		return ""
	}
	if s := err.Error(); len(s) > maxReason {
		return s[:maxReason/2] + "\n…\n" + s[len(s)-maxReason/2:]
	}
	return err.Error()
}
