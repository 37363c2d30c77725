package service

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/container"
)

// How the host is kept clean.
const (
	keepEvery  = bus.LeaseTime // how often somebody looks for what dead processes left
	sweepEvery = time.Hour
	treeAge    = 7 * 24 * time.Hour
	treeBytes  = 20 << 30
	tempAge    = 24 * time.Hour // longer than any delivery
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
	k.keeper.done.Go(func() { every(ctx, keepEvery, func() { k.clean(ctx) }) })
	k.keeper.done.Go(func() { every(ctx, sweepEvery, func() { k.sweep(ctx) }) })
}

// every does it now and then again, until ctx ends.
func every(ctx context.Context, pause time.Duration, do func()) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for ctx.Err() == nil {
		do()
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
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
}

// sweep removes trees and caches that are old or too many.
func (k *Kit) sweep(ctx context.Context) {
	err := errors.Join(k.Trees.Sweep(treeAge, treeBytes), sweepFiles(k.TempDir(), tempAge), sweepFiles(k.imageDir(), treeAge), sweepFiles(k.inventoryDir(), treeAge))
	uses, useErr := k.Bus.CacheUses(ctx)
	if useErr == nil {
		_, useErr = k.Engine.SweepVolumes(ctx, uses, container.Keep{Age: k.CacheAge, Bytes: k.CacheBytes})
	}
	if err := errors.Join(err, useErr); err != nil && ctx.Err() == nil {
		k.Log.Warn("sweep trees and caches", "err", err)
	}
}

// sweepFiles removes the files of dir that nobody touched for so long: what killed
// processes left, and what can be made again.
func sweepFiles(dir string, age time.Duration) error {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, f := range files {
		if info, err := f.Info(); err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > age {
			errs = append(errs, os.Remove(filepath.Join(dir, f.Name())))
		}
	}
	return errors.Join(errs...)
}
