package container

import (
	"context"
	"fmt"

	"github.com/docker/docker/api/types/network"
	"golang.org/x/sync/errgroup"
)

// Ahead says what [Private] networks are kept ready, whole with the namespaces that most
// sessions need: for their first steps, and for the service of that host name. Making
// them takes longer than most tests.
type Ahead struct {
	Networks int
	Host     string
}

// readyNetwork is a private network, with what is started on it before anybody needs it.
type readyNetwork struct {
	network string
	leave   func() // takes this process off it
	lane    string // pause for steps
	host    string // pause for the service that Ahead names; "" when it is taken or was not wanted
}

// readyNetworks keeps such networks ready.
type readyNetworks struct {
	spares[*readyNetwork]
	e *Engine
}

func newReadyNetworks(e *Engine, size int) *readyNetworks {
	n := &readyNetworks{e: e}
	n.spares = spares[*readyNetwork]{
		make: n.build, good: n.runs, drop: n.remove, quiet: e.quiet,
		failed: func(err error) { e.trouble(fmt.Errorf("make a network ahead: %w", err)) },
	}
	n.keep(size)
	return n
}

// build makes one. Its name is noted first: an answer may be lost.
func (n *readyNetworks) build(ctx context.Context) (*readyNetwork, error) {
	v := &readyNetwork{network: objectName(n.e.cfg.Instance, "environment"), leave: func() {}}
	labels := func(kind string) map[string]string {
		return Owner{}.labels(n.e.cfg.Instance, n.e.spareSession(), kind)
	}
	if _, err := n.e.makeNetwork(ctx, v.network, network.CreateOptions{Labels: labels(kindNetwork)}); err != nil {
		return v, err
	}
	all, inner := errgroup.WithContext(ctx)
	all.Go(func() error {
		leave, err := n.e.join(inner, v.network)
		if err == nil {
			v.leave = leave
		}
		return err
	})
	pause := func(to *string, alias string) {
		all.Go(func() (err error) {
			*to, err = n.e.startPause(inner, v.network, alias, labels(kindPause))
			n.e.pool.know(*to)
			return err
		})
	}
	pause(&v.lane, "")
	pause(&v.host, n.e.cfg.Ahead.Host)
	return v, all.Wait()
}

func (n *readyNetworks) runs(ctx context.Context, v *readyNetwork) bool {
	return n.e.runs(ctx, v.lane) && n.e.runs(ctx, v.host)
}

func (n *readyNetworks) remove(ctx context.Context, v *readyNetwork) {
	n.e.pool.discard(ctx, v.lane)
	n.e.pool.discard(ctx, v.host)
	v.leave()
	n.e.trouble(n.e.removeNetwork(ctx, v.network))
}

// adopt takes a network that was made ahead. It is false where none is kept: then the
// session makes one with its own labels.
func (s *Session) adopt(ctx context.Context) (adopted bool, err error) {
	if s.opts.Network != Private || cap(s.e.ready.warm) == 0 {
		return false, nil
	}
	v, err := s.e.ready.take(ctx)
	if err != nil {
		s.e.ready.remove(ctx, v)
		return false, err
	}
	s.network, s.leave, s.host = v.network, v.leave, v.host
	l := &lane{ready: make(chan struct{}), pause: v.lane, turn: make(chan struct{}, 1)}
	close(l.ready)
	s.lanes[0] = l
	return true, nil
}

// namespace gives the namespace that was made ahead for a service of this name to the
// first who asks; "" to others.
func (s *Session) namespace(name string) (pause string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.host == "" || s.hosting || name != s.e.cfg.Ahead.Host {
		return ""
	}
	s.hosting = true
	return s.host
}
