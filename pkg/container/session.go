package container

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
)

// Network is what the containers of a session may reach.
type Network int

const (
	// Outside reaches the world, and no other container.
	Outside Network = iota
	// Private is a network of the session's own: names of services resolve, and the
	// world is reached.
	Private
	// Sealed is Private without a way out, but to the engine's host itself.
	Sealed
)

// SessionOptions say how a session's containers are connected.
type SessionOptions struct {
	Network  Network
	Services []string // names of those that the session will have; the operator's proxy is not asked for them
}

// Session owns what one run of a stage makes on the engine. Steps with services of
// their own need a session of their own, or their services' names clash.
type Session struct {
	e     *Engine
	id    string
	owner Owner
	opts  SessionOptions

	network string        // name of its own one, or ""
	ahead   chan struct{} // one place for each started container that waits for its turn
	leave   func()        // takes this process off the network
	host    string        // pause made ahead for a service, or ""
	hosting bool          // it is in use

	mu    sync.Mutex
	over  bool
	last  <-chan struct{} // closed when the newest step was admitted
	lanes map[int]*lane

	closing chan struct{}
	once    sync.Once
	gone    chan struct{}
	steps   sync.WaitGroup
}

// Open begins a session. The caller closes it.
func (e *Engine) Open(ctx context.Context, owner Owner, opts SessionOptions) (*Session, error) {
	s := &Session{
		e: e, id: e.cfg.Process + processEnd + random(8), owner: owner, opts: opts,
		ahead: make(chan struct{}, e.cfg.Starts), lanes: map[int]*lane{},
		closing: make(chan struct{}), gone: make(chan struct{}),
	}
	if err := e.opened(s); err != nil {
		return nil, fmt.Errorf("open session: %w", err)
	}
	if err := s.connect(ctx); err != nil {
		s.Close(ctx)
		return nil, fmt.Errorf("open session: %w", err)
	}
	return s, nil
}

// connect makes the network of the session's own, if it has one.
func (s *Session) connect(ctx context.Context) (err error) {
	if s.opts.Network == Outside {
		return nil
	}
	if adopted, err := s.adopt(ctx); adopted || err != nil {
		return err
	}
	s.network = objectName(s.owner.App, s.owner.Stage) // noted first: an answer may be lost
	if _, err = s.e.makeNetwork(ctx, s.network, network.CreateOptions{
		Internal: s.opts.Network == Sealed, Labels: s.owner.labels(s.e.cfg.Instance, s.id, kindNetwork),
	}); err != nil {
		return err
	}
	if s.leave, err = s.e.join(ctx, s.network); err != nil {
		return err
	}
	s.lane(ctx, 0) // most sessions need it
	return nil
}

// Close kills what still runs and removes everything that the session made. It
// does not wait: [Session.Wait] and [Engine.Close] do. The end of ctx does not end it.
func (s *Session) Close(ctx context.Context) {
	s.once.Do(func() { s.finish(context.WithoutCancel(ctx)) })
}

// Wait returns when nothing of a closed session is left.
func (s *Session) Wait(ctx context.Context) error {
	select {
	case <-s.gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// finish lets no more work begin, and sets the removal going.
func (s *Session) finish(ctx context.Context) {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	close(s.closing)
	go s.end(ctx)
}

// end removes everything. [Engine.Close] waits for it.
func (s *Session) end(ctx context.Context) {
	defer close(s.gone)
	defer s.e.left(s)
	s.steps.Wait()
	s.linger()
	s.mu.Lock()
	lanes := s.lanes
	s.mu.Unlock()
	for _, l := range lanes {
		<-l.ready
	}
	s.removeContainers(ctx)
	for _, l := range lanes {
		s.e.pool.discard(ctx, l.pause)
	}
	s.e.pool.discard(ctx, s.host)
	if s.leave != nil {
		s.leave()
	}
	if s.network != "" {
		s.e.trouble(s.e.removeNetwork(ctx, s.network))
	}
}

// linger leaves a network alone for a while.
func (s *Session) linger() {
	if s.opts.Network != Private || s.e.cfg.Linger <= 0 {
		return
	}
	select {
	case <-time.After(s.e.cfg.Linger):
	case <-s.e.closing:
	}
}

// removeContainers removes what carries the session's label: services, and what a
// request made whose answer was lost.
func (s *Session) removeContainers(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	found, err := s.e.api.ContainerList(ctx, container.ListOptions{All: true, Filters: labelled(labelSession, s.id)})
	if err != nil {
		s.e.trouble(fmt.Errorf("list containers of session: %w", err))
		return
	}
	var wait sync.WaitGroup
	for _, c := range found {
		if !s.e.pool.knows(c.ID) { // lanes have theirs removed
			wait.Go(func() { s.e.trouble(s.e.remove(ctx, c.ID)) })
		}
	}
	wait.Wait()
}

// lane is a network namespace that steps use one after another.
type lane struct {
	ready chan struct{} // closed when pause or err is set
	pause string
	err   error
	turn  chan struct{} // held by the step that runs
}

// lane is the i-th one. It begins to exist when first asked for.
func (s *Session) lane(ctx context.Context, i int) *lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lanes[i]; l != nil {
		return l
	}
	l := &lane{ready: make(chan struct{}), turn: make(chan struct{}, 1)}
	s.lanes[i] = l
	s.steps.Go(func() {
		defer close(l.ready)
		l.pause, l.err = s.pause(context.WithoutCancel(ctx)) // others may want it too
	})
	return l
}

// pause is a namespace where the session's names resolve.
func (s *Session) pause(ctx context.Context) (string, error) {
	if s.opts.Network == Outside {
		return s.e.pool.take(ctx)
	}
	id, err := s.e.startPause(ctx, s.network, "", s.owner.labels(s.e.cfg.Instance, s.id, kindPause))
	s.e.pool.know(id)
	return id, err
}

// mode is the network mode of a step; "none" where it has none.
func (s *Session) mode(ctx context.Context, spec Step) (container.NetworkMode, *lane, error) {
	if s.opts.Network != Sealed && (!spec.Network || spec.Strict) {
		return "none", nil, nil
	}
	l := s.lane(ctx, spec.Lane)
	select {
	case <-l.ready:
		return container.NetworkMode(containerMode + l.pause), l, l.err
	case <-ctx.Done():
		return "", nil, ctx.Err()
	}
}

// containerMode begins the network mode of a container that shares another one's.
const containerMode = "container:"
