package container

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"time"

	"github.com/docker/docker/api/types/container"
)

// stream is a hijacked connection: what the container reads and prints.
type stream struct {
	Conn   net.Conn
	Reader *bufio.Reader
}

// Close ends the connection, and with it a gate that still waits.
func (s stream) Close() {
	if s.Conn != nil {
		_ = s.Conn.Close()
	}
}

// send writes what opens the gate, within ctx and a bound: a container that has ended
// reads nothing.
func (s stream) send(ctx context.Context, data []byte) error {
	if err := s.Conn.SetWriteDeadline(time.Now().Add(startTimeout)); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = s.Conn.SetWriteDeadline(time.Unix(1, 0)) })()
	if _, err := s.Conn.Write(data); err != nil && ctx.Err() != nil {
		return ctx.Err()
	} else if err != nil {
		return err
	}
	return nil
}

// live is the whole life of a step's container. It is the only owner: it makes
// the container in its turn, lets Run use it, and removes it.
func (p *Prepared) live(ctx context.Context, turn <-chan struct{}, admitted chan<- struct{}) {
	release, err := p.admit(ctx, turn)
	close(admitted)
	if err == nil {
		err = p.prepare(ctx)
	}
	p.err = err
	close(p.ready)
	select {
	case <-p.wanted:
	case <-p.s.closing:
	}
	release()
	p.awaitRun()
	p.linger()
	p.discard(ctx)
	if p.spec.Removed != nil {
		p.spec.Removed()
	}
}

// awaitRun returns when nobody uses the container any more.
func (p *Prepared) awaitRun() {
	select {
	case <-p.ran:
	case <-p.s.closing:
		// Either Run has begun, sees the closing too, and ends; or it never begins.
		if begun := !p.claim(); begun {
			<-p.ran
		}
	}
}

// claim is true for the one who has the container first: Run, or the end.
func (p *Prepared) claim() (first bool) {
	p.once.Do(func() { first = true })
	return first
}

// admit waits until the step may be prepared: those before it were, and there is a
// place. One that is wanted now needs neither.
func (p *Prepared) admit(ctx context.Context, turn <-chan struct{}) (release func(), err error) {
	release = func() {}
	if turn != nil {
		select {
		case <-turn:
		case <-p.wanted:
			return release, nil
		case <-p.s.closing:
			return release, ErrClosed
		case <-ctx.Done():
			return release, ctx.Err()
		}
	}
	select {
	case p.s.ahead <- struct{}{}:
		return func() { <-p.s.ahead }, nil
	case <-p.wanted:
		return release, nil
	case <-p.s.closing:
		return release, ErrClosed
	case <-ctx.Done():
		return release, ctx.Err()
	}
}

// prepare creates the container; at a gate it starts it too.
func (p *Prepared) prepare(ctx context.Context) error {
	return p.create(ctx, p.spec.gated())
}

func (p *Prepared) create(ctx context.Context, start bool) error {
	mode, l, err := p.s.mode(ctx, p.spec)
	if err != nil {
		return err
	}
	p.lane = l
	if start {
		_, err = p.s.e.launch(ctx, func(ctx context.Context, nofile int64) (string, error) {
			p.discard(ctx) // an earlier try
			return p.connect(ctx, mode, nofile)
		})
	} else {
		// Not interrupted half way, as in launch.
		whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
		defer cancel()
		limit := p.s.e.nofile.Load()
		_, err = p.connect(whole, mode, nofileLimit(limit))
		p.c.limit = limit
	}
	return err
}

// connect creates the container and attaches to it, so that no byte is lost.
func (p *Prepared) connect(ctx context.Context, mode container.NetworkMode, nofile int64) (string, error) {
	s := p.s
	config, host, err := p.spec.config(s.place(nofile))
	if err != nil {
		return "", err
	}
	if err = s.makeCaches(ctx, p.spec.Mounts); err != nil {
		return "", err
	}
	host.NetworkMode = mode
	if p.c.id, err = s.e.create(ctx, objectName(s.owner.App, fmt.Sprint(s.owner.Delivery), s.owner.Stage, p.spec.Name), config, host, nil); err != nil {
		return "", err
	}
	conn, err := s.e.api.ContainerAttach(ctx, p.c.id, container.AttachOptions{Stream: true, Stdin: config.OpenStdin, Stdout: true, Stderr: true})
	if err != nil {
		return p.c.id, fmt.Errorf("attach to container: %w", err)
	}
	watch, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p.c.stream, p.c.unwatch = stream{Conn: conn.Conn, Reader: conn.Reader}, cancel
	p.c.exit = s.e.watch(watch, p.c.id)
	if config.OpenStdin {
		p.c.mark = newMark()
	}
	return p.c.id, nil
}

// linger lets a container that has told its end leave by itself, which is cheaper
// than a kill.
func (p *Prepared) linger() {
	select {
	case <-p.ran:
	default:
		return // nobody ran it
	}
	p.c.stream.Close()
	if p.c.exit == nil {
		return
	}
	wait := time.NewTimer(2 * time.Second)
	defer wait.Stop()
	select {
	case <-p.c.exit.done:
	case <-wait.C:
	}
}

// discard removes the container, if there is one.
func (p *Prepared) discard(ctx context.Context) {
	p.c.stream.Close()
	if p.c.id != "" {
		p.s.e.trouble(p.s.e.remove(ctx, p.c.id))
	}
	if p.c.exit != nil {
		p.c.unwatch()
		<-p.c.exit.done
	}
	p.c = attached{}
}
