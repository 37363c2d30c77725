package container

import (
	"context"
	"fmt"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"
)

// pool keeps pause containers ready, each a network namespace with a way to the outside.
type pool struct {
	spares[string]
	e *Engine

	mu      sync.Mutex
	network string          // outside, once it exists
	alive   map[string]bool // all pauses of this engine that may still exist
}

func newPool(e *Engine, size int) *pool {
	p := &pool{e: e, alive: map[string]bool{}}
	p.spares = spares[string]{
		make: p.pause, drop: p.discard, good: e.runs, quiet: e.quiet,
		failed: func(err error) { e.trouble(fmt.Errorf("fill pool of pause containers: %w", err)) },
	}
	p.keep(size)
	return p
}

// runs tells whether a container does.
func (e *Engine) runs(ctx context.Context, id string) bool {
	r, err := e.Find(ctx, id)
	return err == nil && r.State == "running"
}

// pause starts a pause on the network to the outside, which is made again if somebody
// has removed it: without pauses it looks unused.
func (p *pool) pause(ctx context.Context) (string, error) {
	for again := true; ; again = false {
		outside, err := p.outside(ctx)
		if err != nil {
			return "", err
		}
		id, err := p.e.startPause(ctx, outside, "", Owner{}.labels(p.e.cfg.Instance, p.e.spareSession(), kindPause))
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

// spareSession marks what is made ahead, for no session yet, as this process's.
func (e *Engine) spareSession() string { return e.cfg.Process + processEnd + spareSession }

// spareSession is the name of no session.
const spareSession = "pool"

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
		Labels:  Owner{}.labels(p.e.cfg.Instance, p.e.spareSession(), kindOutside),
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

// close removes what is left, the network too.
func (p *pool) close() {
	p.spares.close()
	if p.network != "" {
		p.e.trouble(p.e.removeNetwork(context.Background(), p.network))
	}
}
