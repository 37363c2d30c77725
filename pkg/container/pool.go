package container

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"
)

// pool keeps a few pause containers ready. Each is used once, by one session, so
// that no delivery ever meets what another left in its namespace.
type pool struct {
	e    *Engine
	warm chan string   // IDs of containers that wait
	took chan struct{} // wakes the filler
	stop chan struct{}
	done sync.WaitGroup
	once sync.Once // of close

	mu      sync.Mutex
	network string          // outside, once it exists
	alive   map[string]bool // all pauses of this engine that may still exist
}

// refillAfter is how long the filler leaves a busy engine alone: starting a
// container takes time from the steps that run.
const refillAfter = 500 * time.Millisecond

func newPool(e *Engine, size int) *pool {
	p := &pool{e: e, warm: make(chan string, size), took: make(chan struct{}, 1), stop: make(chan struct{}), alive: map[string]bool{}}
	if size > 0 {
		p.done.Go(p.fill)
	}
	return p
}

// take gives away a pause with a way to the outside.
func (p *pool) take(ctx context.Context) (string, error) {
	defer p.wake()
	for {
		select {
		case id := <-p.warm:
			if r, err := p.e.Find(ctx, id); err == nil && r.State == "running" {
				return id, nil
			}
			p.discard(ctx, id) // an engine that restarts ends them
		default:
			return p.make(ctx)
		}
	}
}

// wake lets the filler look whether there is room.
func (p *pool) wake() {
	select {
	case p.took <- struct{}{}:
	default:
	}
}

// make starts a pause on the network to the outside, which is made again if somebody
// has removed it: without pauses it looks unused.
func (p *pool) make(ctx context.Context) (string, error) {
	for again := true; ; again = false {
		outside, err := p.outside(ctx)
		if err != nil {
			return "", err
		}
		id, err := p.e.startPause(ctx, outside, Owner{}.labels(p.e.cfg.Instance, p.session(), kindPause))
		p.know(id)
		if err == nil || !again || !errdefs.IsNotFound(err) || !p.forget(ctx, outside) {
			return id, err
		}
		p.discard(ctx, id)
	}
}

// forget makes the pool forget its network if the engine does not have it.
func (p *pool) forget(ctx context.Context, id string) bool {
	if _, err := p.e.api.NetworkInspect(ctx, id, network.InspectOptions{}); !errdefs.IsNotFound(err) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.network == id {
		p.network = ""
	}
	return true
}

// session marks what the pool makes as this process's.
func (p *pool) session() string { return p.e.cfg.Process + processEnd + "pool" }

// fill keeps the pool full until it is closed.
func (p *pool) fill() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p.done.Go(func() { <-p.stop; cancel() })
	for {
		for len(p.warm) < cap(p.warm) && ctx.Err() == nil {
			id, err := p.make(ctx)
			if err != nil {
				p.discard(ctx, id)
				if ctx.Err() == nil {
					p.e.trouble(fmt.Errorf("fill pool of pause containers: %w", err))
				}
				break // until somebody takes one
			}
			p.warm <- id // has room: nobody else fills
		}
		if !p.wait(ctx) {
			return
		}
	}
}

// wait sleeps until a pause was taken and the engine has time, or all is over.
func (p *pool) wait(ctx context.Context) (more bool) {
	select {
	case <-p.took:
	case <-ctx.Done():
		return false
	}
	pause := time.NewTimer(refillAfter)
	defer pause.Stop()
	select {
	case <-p.e.quiet():
	case <-pause.C:
	case <-ctx.Done():
		return false
	}
	return true
}

// outside is the network of the pool, made when first needed. Containers on it
// reach the world and not each other.
func (p *pool) outside(ctx context.Context) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.network != "" {
		return p.network, nil
	}
	// Each process has one of its own: names of networks are not unique, and who
	// ends must not take it away from others.
	id, err := p.e.makeNetwork(ctx, objectName(p.e.cfg.Instance, "outside"), network.CreateOptions{
		Options: map[string]string{"com.docker.network.bridge.enable_icc": "false"},
		Labels:  Owner{}.labels(p.e.cfg.Instance, p.session(), kindOutside),
	})
	p.network = id
	return id, err
}

// know notes a pause that is ours until [pool.discard].
func (p *pool) know(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if id != "" {
		p.alive[id] = true
	}
}

// knows tells whether a pause is ours and in use.
func (p *pool) knows(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.alive[id]
}

// discard removes a pause.
func (p *pool) discard(ctx context.Context, id string) {
	if id == "" {
		return
	}
	p.e.trouble(p.e.remove(ctx, id))
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.alive, id)
}

// close waits for the filler and removes what is left, the network too.
func (p *pool) close() { p.once.Do(p.empty) }

func (p *pool) empty() {
	close(p.stop)
	p.done.Wait()
	ctx := context.Background()
	for len(p.warm) > 0 {
		p.discard(ctx, <-p.warm)
	}
	if p.network != "" {
		p.e.trouble(p.e.removeNetwork(ctx, p.network))
	}
}
