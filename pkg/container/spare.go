package container

import (
	"context"
	"sync"
	"time"
)

// spares keeps a few things ready that take the engine long to make. Each is used once,
// by one session, so that no delivery ever meets what another left there.
type spares[T any] struct {
	// make makes one more. What it made is given back even with an error.
	make func(ctx context.Context) (T, error)
	// good tells whether one that waited can still be used.
	good func(ctx context.Context, spare T) bool
	// drop removes one.
	drop func(ctx context.Context, spare T)
	// quiet is closed while no session is open.
	quiet func() <-chan struct{}
	// failed is told why the filler could not make one.
	failed func(error)

	warm chan T
	took chan struct{} // wakes the filler
	stop chan struct{}
	done sync.WaitGroup
	once sync.Once // of close
}

// When the filler makes more, which takes time from the steps that run: when no session is
// open and nobody has taken anything for a while, or the last one is gone; and under
// constant load after a longer while.
const (
	calm = 1500 * time.Millisecond
	late = 10 * time.Second
)

// keep begins to keep so many ready.
func (s *spares[T]) keep(size int) {
	s.warm, s.took, s.stop = make(chan T, size), make(chan struct{}, 1), make(chan struct{})
	if size > 0 {
		s.done.Go(s.fill)
	}
}

// take gives one away: one that waits, else a new one.
func (s *spares[T]) take(ctx context.Context) (T, error) {
	defer s.wake()
	for {
		select {
		case spare := <-s.warm:
			if s.good(ctx, spare) {
				return spare, nil
			}
			s.drop(ctx, spare) // an engine that restarts ends containers
		default:
			return s.make(ctx)
		}
	}
}

// wake lets the filler look whether there is room.
func (s *spares[T]) wake() {
	select {
	case s.took <- struct{}{}:
	default:
	}
}

// fill keeps the store full until it is closed.
func (s *spares[T]) fill() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.done.Go(func() { <-s.stop; cancel() })
	for {
		for len(s.warm) < cap(s.warm) && ctx.Err() == nil {
			spare, err := s.make(ctx)
			if err != nil {
				s.drop(ctx, spare)
				if ctx.Err() == nil {
					s.failed(err)
				}
				break // until somebody takes one
			}
			s.warm <- spare // has room: nobody else fills
		}
		if !s.wait(ctx) {
			return
		}
	}
}

// wait sleeps until one was taken and it is time to make more, or all is over.
func (s *spares[T]) wait(ctx context.Context) (more bool) {
	select {
	case <-s.took:
	case <-ctx.Done():
		return false
	}
	last, pause, again := time.After(late), time.After(calm), false
	for {
		var quiet <-chan struct{}
		if again || len(s.warm) == 0 {
			quiet = s.quiet()
		}
		select {
		case <-s.took:
			last, pause, again = time.After(late), time.After(calm), false
		case <-pause:
			again = true
		case <-quiet:
			return true
		case <-last:
			return true
		case <-ctx.Done():
			return false
		}
	}
}

// close waits for the filler and drops what is left.
func (s *spares[T]) close() {
	s.once.Do(func() {
		close(s.stop)
		s.done.Wait()
		for len(s.warm) > 0 {
			s.drop(context.Background(), <-s.warm)
		}
	})
}
