package container

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Probe tells when a container is ready. One of HTTP, TCP, Run and Log is set.
type Probe struct {
	HTTP   string        // :8080/path on the container, or a whole URL
	TCP    int           // port that accepts connections
	Run    []string      // lines of a script in the container that exits with 0
	Log    string        // regular expression that a printed line matches
	Status int           // wanted of HTTP; 0 means any from 200 to 399
	Every  time.Duration // between tries; 0 means 3 ms at first, growing to 250 ms
	Within time.Duration // for all; 0 means a minute

	argv []string // instead of Run: a command without a shell
}

// NotReady says that a container did not get ready, and why.
type NotReady struct {
	Name   string
	Probe  string        // what was asked
	Last   string        // last answer
	After  time.Duration // when it was given up
	Exited *Exit         // it ended meanwhile
	Logs   []string      // last lines that it printed, at most 20
}

// Error tells all of it in several lines.
func (n *NotReady) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is not ready after %s: ", n.Name, n.After.Round(10*time.Millisecond))
	switch {
	case n.Exited != nil && n.Exited.OOM:
		fmt.Fprintf(&b, "it was killed for want of memory (exit code %d)", n.Exited.Code)
	case n.Exited != nil:
		fmt.Fprintf(&b, "it ended with exit code %d", n.Exited.Code)
	default:
		b.WriteString(n.Probe)
	}
	if n.Last != "" {
		fmt.Fprintf(&b, ": %s", n.Last)
	}
	if len(n.Logs) > 0 {
		fmt.Fprintf(&b, "\nlast lines of %s:\n  %s", n.Name, strings.Join(n.Logs, "\n  "))
	}
	return b.String()
}

const (
	firstPause = 3 * time.Millisecond
	maxPause   = 250 * time.Millisecond
	// A lost SYN costs a second, so the first tries are short. An application that
	// really needs long for its answer gets more with each try.
	firstTry = 100 * time.Millisecond
	maxTry   = 5 * time.Second
	tailSize = 20
)

// Probe waits until the container is ready. The error is a [NotReady] when it does
// not get ready in time, or ends.
func (r *Running) Probe(ctx context.Context, p Probe) error {
	return r.probe(ctx, r.Name, p)
}

func (r *Running) probe(ctx context.Context, name string, p Probe) error {
	if p.Within <= 0 {
		p.Within = defaultWithin
	}
	asking, cancel := context.WithTimeout(ctx, p.Within)
	defer cancel()
	try, done, err := r.asker(ctx, p) // a command that was started in time may end later
	if err != nil {
		return err
	}
	defer done()
	begin := time.Now()
	last, ended, err := r.ask(asking, p, try)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("probe %s: %w", name, context.Cause(ctx))
	}
	return r.notReady(ctx, &NotReady{Name: name, Probe: p.String(), Last: last, After: time.Since(begin)}, ended)
}

// ask tries until a try succeeds, the container ends, or ctx does.
func (r *Running) ask(ctx context.Context, p Probe, try asker) (last string, ended bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := make(chan struct{})
	go func() {
		defer close(watch)
		if _, err := r.Wait(ctx); err == nil || errors.Is(err, ErrNoContainer) {
			cancel(errExited)
		}
	}()
	defer func() { cancel(nil); <-watch }()
	pause, patience := firstPause, firstTry
	for {
		begin := time.Now()
		short, stop := context.WithTimeout(ctx, patience)
		answer, err := try(short)
		stop()
		if err == nil {
			return answer, false, nil
		}
		if ctx.Err() == nil || last == "" {
			last = err.Error()
		}
		if time.Since(begin) >= patience {
			patience = min(2*patience, maxTry)
		}
		if p.Every > 0 {
			pause = p.Every
		}
		if !sleep(ctx, pause) {
			return last, errors.Is(context.Cause(ctx), errExited), err
		}
		pause = min(pause*3/2, maxPause)
	}
}

// errExited ends a probe whose container has ended.
var errExited = errors.New("container ended")

// sleep is false if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// notReady completes n with what the container left.
func (r *Running) notReady(ctx context.Context, n *NotReady, ended bool) error {
	if ended {
		if err := r.Refresh(ctx); err == nil {
			n.Exited = &r.Exit
		}
	}
	// What can be had is had: the logs explain, but they are not the error.
	n.Logs, _ = r.Logs(ctx, tailSize)
	return n
}

// String is the question that p asks.
func (p Probe) String() string {
	switch {
	case p.HTTP != "":
		return "GET " + p.HTTP
	case p.TCP != 0:
		return fmt.Sprintf("connect to port %d", p.TCP)
	case p.Log != "":
		return fmt.Sprintf("wait for the line /%s/", p.Log)
	case len(p.argv) > 0:
		return "run " + strings.Join(p.argv, " ")
	}
	return "run " + strings.Join(p.Run, "; ")
}
