package service

import (
	"context"
	"sync"
	"time"

	"github.com/millrace-cd/millrace/pkg/bus"
)

// How the host is kept clean.
const (
	keepEvery = bus.LeaseTime // how often somebody looks
	treeAge   = 7 * 24 * time.Hour
	treeBytes = 20 << 30
)

// keeper tells the other processes that this one lives, and removes from the engine
// what dead ones left.
type keeper struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
	absent map[string]bool // processes that nobody heard of at the last look
}

func (k *Kit) keep(ctx context.Context) {
	ctx, k.keeper.cancel = context.WithCancel(context.WithoutCancel(ctx))
	k.keeper.done.Go(func() { k.live(ctx) })
	k.keeper.done.Go(func() {
		tick := time.NewTicker(keepEvery)
		defer tick.Stop()
		for {
			k.clean(ctx)
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
}

func (k *keeper) stop() {
	if k.cancel != nil {
		k.cancel()
		k.done.Wait()
	}
}

// live holds the process's lease until ctx ends.
func (k *Kit) live(ctx context.Context) {
	for ctx.Err() == nil {
		lease, held, err := k.Bus.Acquire(ctx, "process."+k.process, k.Worker)
		if err == nil {
			<-held.Done() // ctx ends, or the lease was lost while NATS was away
			lease.Release(context.WithoutCancel(ctx))
			continue
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// clean removes what dead processes left. One counts as dead that was absent at two
// looks in a row: after a time without NATS, all are absent at first.
func (k *Kit) clean(ctx context.Context) {
	before := k.keeper.absent
	now := map[string]bool{}
	n, err := k.Engine.Reap(ctx, func(process string) bool {
		holder, err := k.Bus.Holder(ctx, "process."+process)
		if err != nil || holder != "" {
			return true // who cannot ask does not judge
		}
		now[process] = true
		return !before[process]
	})
	k.keeper.absent = now
	if err != nil && ctx.Err() == nil {
		k.Log.Warn("clean up after dead processes", "err", err)
	}
	if n > 0 {
		k.Log.Info("removed what dead processes left on the engine", "objects", n)
	}
	if err := k.Trees.Sweep(treeAge, treeBytes); err != nil && ctx.Err() == nil {
		k.Log.Warn("sweep trees", "err", err)
	}
}
