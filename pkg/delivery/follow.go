package delivery

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/event"
)

// Follow calls each for everything that happened and happens to a delivery, in
// order and each once, until the delivery has ended; it returns the delivery then, or
// as far as it came when ctx ended. What was observed of a stage is told before how
// the stage ended. Calls never overlap.
func Follow(ctx context.Context, b *bus.Bus, number uint64, each func(Delivery, Change)) (Delivery, error) {
	commit, err := b.Commit(ctx, number)
	if err != nil {
		return Delivery{}, err
	}
	f := &follower{bus: b, number: text(number), delivery: begin(commit), each: each}
	f.tell(Change{Kind: Accepted, Time: f.delivery.Accepted}, true)
	if err := f.run(ctx); err != nil {
		return f.delivery.clone(), fmt.Errorf("follow delivery %d: %w", number, err)
	}
	return f.delivery.clone(), nil
}

// follower merges two streams.
type follower struct {
	bus    *bus.Bus
	number string
	each   func(Delivery, Change)

	mu       sync.Mutex
	delivery *Delivery
	observed uint64           // sequence of the last observation
	early    []event.Progress // that tell of a stage whose predecessor has not been told to end
}

func (f *follower) run(ctx context.Context) error {
	group, both := errgroup.WithContext(ctx)
	live, stop := context.WithCancel(both)
	group.Go(func() error {
		defer stop()
		return f.bus.Follow(both, bus.Deliveries, facts("*", f.number), func(e bus.Entry) error { return f.fact(both, e) })
	})
	group.Go(func() error { return f.bus.Follow(live, bus.Progress, observations(f.number), f.observe) })
	if err := group.Wait(); err != nil {
		return err
	}
	if !f.delivery.State.Ended() {
		return ctx.Err()
	}
	return nil
}

// fact tells how a stage ended, after all that was observed of it: the observations
// come by another reader, which may be behind.
func (f *follower) fact(ctx context.Context, e bus.Entry) error {
	if err := f.bus.Read(ctx, bus.Progress, observations(f.number), f.observe); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tell(f.delivery.fact(e))
	early := f.early
	f.early = nil
	for _, p := range early {
		f.progress(p)
	}
	if f.delivery.State.Ended() {
		return bus.ErrStopped
	}
	return nil
}

// observe is called by both readers of the observations; the sequence tells which of
// them is the first to see one.
func (f *follower) observe(e bus.Entry) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e.Sequence > f.observed {
		f.observed = e.Sequence
		f.progress(progress(e))
	}
	return nil
}

func (f *follower) progress(p event.Progress) {
	if !f.delivery.due(p) {
		f.early = append(f.early, p)
		return
	}
	f.tell(f.delivery.observe(p))
}

func (f *follower) tell(c Change, changed bool) {
	if changed {
		f.each(f.delivery.clone(), c)
	}
}
