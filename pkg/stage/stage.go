// Package stage runs one stage of deliveries as a worker.
//
// A stage is a function from one event to the next. [Work] feeds it:
//
//	consume In → result there already? → run, heart-beating → publish Out once → acknowledge In
//
// The order is the guarantee. An event is acknowledged only after its result is
// stored, so a crash at any point repeats work and never loses it. The server stores
// one result for each stage of a delivery, so repeated work, also that of a worker
// who was thought dead, has no second effect. Every event ends in a result: what a
// stage cannot do after [Attempts] attempts is published as errored.
package stage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/event"
)

// Attempts is how often a stage is tried before a delivery ends as errored.
const Attempts = 5

// Job is one event to work on.
type Job[In event.Event] struct {
	Event       In
	Stored      time.Time // when the event was, by the bus
	Environment string    // that a deployment goes to
	Attempt     int       // counts from 1
}

// Func turns an event into its successor.
//
// It must be safe to run twice for the same event, also at the same time. Its error
// is one made by [Fail] or its kin if the delivery ends here; any other error means
// that trying again may help. What it returns beside an error is recorded with it.
type Func[In, Out event.Event] func(context.Context, Job[In]) (Out, error)

// Options say how a stage is worked on. Only Tracer is required.
type Options[In event.Event] struct {
	Worker string // unique name of this process
	Slots  int    // events worked on at the same time; 1 by default
	// Grace is how long running work may go on after ctx ended, before it is
	// stopped and handed back.
	Grace time.Duration
	// Target names the environment that an event leads to; false where it leads
	// nowhere. Only for deployments.
	Target func(In) (string, bool)
	Tracer trace.Tracer
	Log    *slog.Logger
	// Retry is the pause after the nth attempt; the default grows from 5 s to 60 s.
	Retry func(attempt int) time.Duration
}

func (o Options[In]) orDefault() Options[In] {
	o.Slots = max(o.Slots, 1)
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Retry == nil {
		o.Retry = func(n int) time.Duration { return min(5*time.Second<<(n-1), time.Minute) }
	}
	return o
}

// Work feeds run with events until ctx ends, then finishes what runs. Any number of
// processes may work on the same stage.
func Work[In, Out event.Event](ctx context.Context, b *bus.Bus, run Func[In, Out], o Options[In]) error {
	var in In
	var out Out
	if in.Stage() == out.Stage() {
		return fmt.Errorf("stage %q feeds itself: does %T lack its own Stage?", in.Stage(), out)
	}
	o = o.orDefault()
	w := &worker[In, Out]{Options: o, bus: b, run: run, stage: out.Stage(), log: o.Log.With("stage", out.Stage())}
	feeds := make([]*bus.Feed, 0, o.Slots)
	defer func() {
		for _, f := range feeds {
			f.Stop()
		}
	}()
	for range o.Slots {
		f, err := b.Consume(ctx, w.stage)
		if err != nil {
			return err
		}
		feeds = append(feeds, f)
	}
	return w.slots(ctx, feeds)
}

// slots runs one loop for each feed until ctx ends or one cannot go on.
func (w *worker[In, Out]) slots(ctx context.Context, feeds []*bus.Feed) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var slots sync.WaitGroup
	for _, f := range feeds {
		defer context.AfterFunc(ctx, f.Stop)()
		slots.Go(func() {
			if err := w.loop(ctx, f); err != nil {
				cancel(err)
			}
		})
	}
	slots.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (w *worker[In, Out]) loop(ctx context.Context, f *bus.Feed) error {
	for {
		msg, err := f.Next()
		if errors.Is(err, bus.ErrStopped) {
			return nil
		}
		if err != nil {
			return err
		}
		w.handle(ctx, msg)
	}
}
