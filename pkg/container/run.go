package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

// Exit is how a container's process ended.
type Exit struct {
	Code     int
	OOM      bool // it, or a process of it, was killed for want of memory
	TimedOut bool
	Duration time.Duration // from its turn to its end
}

// Prepared is a step whose container is on its way to the gate.
type Prepared struct {
	s    *Session
	spec Step
	c    attached
	lane *lane
	err  error // of the preparation

	once   sync.Once
	wanted chan struct{} // closed when Run is called
	ready  chan struct{} // closed when c or err is set
	ran    chan struct{} // closed when Run is done with the container
}

// Run gives the step its turn and waits for its end. Out gets its output as it
// comes, both streams in one, every byte of it before Run returns. An error means
// that the step's result is not known, through no fault of its own, or that ctx
// ended; the exception is [ErrStep]. Run may be called once.
func (p *Prepared) Run(ctx context.Context, out io.Writer) (Exit, error) {
	if !p.claim() {
		return Exit{}, fmt.Errorf("run step %s: %w, or it ran before", p.spec.Name, ErrClosed)
	}
	close(p.wanted)
	defer close(p.ran)
	exit, err := p.run(ctx, out)
	if err != nil {
		return exit, fmt.Errorf("run step %s: %w", p.spec.Name, err)
	}
	return exit, nil
}

func (p *Prepared) run(ctx context.Context, out io.Writer) (Exit, error) {
	select {
	case <-p.ready:
	case <-ctx.Done():
		return Exit{}, ctx.Err()
	}
	if p.err != nil {
		return Exit{}, p.err
	}
	if p.lane != nil {
		select {
		case p.lane.turn <- struct{}{}:
			defer func() { <-p.lane.turn }()
		case <-p.s.closing:
			return Exit{}, ErrClosed
		case <-ctx.Done():
			return Exit{}, ctx.Err()
		}
	}
	begin := time.Now()
	if err := p.begin(ctx); err != nil {
		return Exit{}, err
	}
	exit, err := p.await(ctx, out)
	exit.Duration = time.Since(begin)
	if err == nil && exit.Code == 0 && !exit.TimedOut && p.spec.Commit != nil {
		err = p.commit(ctx)
	}
	return exit, err
}

// begin opens the gate, or starts what waits at none.
func (p *Prepared) begin(ctx context.Context) error {
	if len(p.c.mark) > 0 {
		lines := slices.Concat(p.c.mark, []byte{'\n'}, handover(p.spec.Secrets), []byte{'\n'})
		if err := p.c.stream.send(ctx, lines); err != nil {
			return fmt.Errorf("open the gate: %w", err)
		}
		return nil
	}
	release, err := p.s.e.slot(ctx)
	if err != nil {
		return err
	}
	err = p.s.e.start(ctx, p.c.id, p.c.limit)
	release()
	if errors.Is(err, errNofile) {
		return p.create(ctx, true)
	}
	if err != nil {
		return fmt.Errorf("start container: %w", err)
	}
	return nil
}

// told is what the stream of a container's output said at its end.
type told struct {
	verdict
	ok  bool // the mark came
	err error
}

// await follows the output to the end, which a timeout or the end of ctx brings on.
func (p *Prepared) await(ctx context.Context, out io.Writer) (Exit, error) {
	end := make(chan told, 1)
	go func() { end <- p.c.follow(out) }()
	var timeout <-chan time.Time
	if p.spec.Timeout > 0 {
		timer := time.NewTimer(p.spec.Timeout)
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case t := <-end:
		return p.settle(ctx, t, false)
	case <-timeout:
		t := p.stop(ctx, end)
		return p.settle(ctx, t, true)
	case <-ctx.Done():
		p.kill(ctx, end)
		return Exit{}, ctx.Err()
	case <-p.s.closing:
		p.kill(ctx, end)
		return Exit{}, ErrClosed
	}
}

// stop asks the step to end, and ends it if it does not.
func (p *Prepared) stop(ctx context.Context, end <-chan told) told {
	p.s.e.signal(ctx, p.c.id, "TERM")
	grace := time.NewTimer(p.spec.Grace)
	defer grace.Stop()
	select {
	case t := <-end:
		return t
	case <-grace.C:
		return p.kill(ctx, end)
	case <-p.s.closing:
		return p.kill(ctx, end)
	}
}

// kill ends the step and returns when its output has ended.
func (p *Prepared) kill(ctx context.Context, end <-chan told) told {
	p.s.e.signal(ctx, p.c.id, "KILL")
	late := time.NewTimer(10 * time.Second)
	defer late.Stop()
	select {
	case t := <-end:
		return t
	case <-late.C:
		p.c.stream.Close() // the engine does not answer; the reaper gets the container
		return <-end
	}
}

// settle finds the exit code. A mark with 0 is the whole truth. For everything
// else the engine is asked, since a kill for want of memory may be behind it, and
// since a stream that broke must not look like a verdict.
func (p *Prepared) settle(ctx context.Context, t told, timedOut bool) (Exit, error) {
	if t.err != nil {
		return Exit{}, t.err
	}
	if t.ok && t.code == 0 && !timedOut {
		return Exit{}, nil
	}
	exit, err := p.c.confirm(ctx, p.s.e)
	if err != nil {
		return Exit{}, err
	}
	exit.TimedOut, exit.OOM = timedOut, exit.OOM || t.oom
	gated := len(p.c.mark) > 0
	switch {
	case timedOut, t.ok && exit.Code == t.code, exit.OOM:
		return exit, nil
	case exit.Code == 255:
		return Exit{}, errors.New("exit code 255 from the engine, which says it of what it lost sight of")
	case gated && !t.ok && exit.Code == 0:
		return Exit{}, errors.New("the output broke off")
	}
	return exit, nil
}

// attached is a container with its output connected.
type attached struct {
	id      string
	limit   int32 // index of its open files limit
	stream  stream
	mark    []byte // empty: no gate
	exit    *ended
	unwatch context.CancelFunc
}

// follow copies the output until the mark, or else to its end.
func (a attached) follow(out io.Writer) told {
	w := &untilMark{out: out, mark: a.mark}
	_, err := stdcopy.StdCopy(w, w, a.stream.Reader)
	if errors.Is(err, errEnd) {
		return told{verdict: w.end, ok: true}
	}
	if err == nil {
		err = w.flush()
	}
	if err != nil {
		err = fmt.Errorf("copy output: %w", err)
	}
	return told{err: err}
}

// confirm waits for the engine's word about the end.
func (a attached) confirm(ctx context.Context, e *Engine) (Exit, error) {
	ctx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	select {
	case <-a.exit.done:
		if a.exit.err != nil {
			return Exit{}, fmt.Errorf("wait for the end: %w", a.exit.err)
		}
		oom, err := e.outOfMemory(ctx, a.id)
		if a.exit.code == 137 && !oom && err == nil && sleep(ctx, oomDelay) {
			oom, err = e.outOfMemory(ctx, a.id)
		}
		return Exit{Code: a.exit.code, OOM: oom}, err
	case <-ctx.Done():
		return Exit{}, fmt.Errorf("wait for the end: %w", ctx.Err())
	}
}

// oomDelay is how long the engine may take to learn why a container was killed: it
// gets to know that by another way than the end.
const oomDelay = 200 * time.Millisecond

// outOfMemory tells whether the engine saw a kill for want of memory.
func (e *Engine) outOfMemory(ctx context.Context, id string) (bool, error) {
	found, err := e.api.ContainerInspect(ctx, id)
	if err != nil {
		return false, fmt.Errorf("look at the end: %w", err)
	}
	return found.State != nil && found.State.OOMKilled, nil
}

// signal sends a signal to a container that may have ended.
func (e *Engine) signal(ctx context.Context, id, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	_ = e.api.ContainerKill(ctx, id, name) // ended already, or the caller sees that it does not end
}

// ended is the engine's word about a container's end.
type ended struct {
	done chan struct{} // closed when the rest is set
	code int
	err  error
}

// watch tells of the end of a container that is about to start. The end of ctx is
// an error of it, and ends its goroutine.
func (e *Engine) watch(ctx context.Context, id string) *ended {
	end := &ended{done: make(chan struct{})}
	exited, failed := e.api.ContainerWait(ctx, id, container.WaitConditionNextExit)
	go func() {
		defer close(end.done)
		select {
		case r := <-exited:
			end.code = int(r.StatusCode)
			if r.Error != nil {
				end.err = errors.New(r.Error.Message)
			}
		case end.err = <-failed:
		}
	}()
	return end
}
