package container

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/docker/docker/api/types/container"
)

// A step prints much, and every byte arrives.
func TestOutputIsComplete(t *testing.T) {
	t.Parallel()
	e := connect(t)
	s := open(t, e, Outside)
	for _, sh := range []string{"/bin/sh", "/bin/ash"} {
		out, _ := run(t, s, Step{
			Shell: []string{sh, "-ec"},
			Run:   []string{"seq 1 400000 | tee /tmp/all", "sha256sum </tmp/all >/tmp/sum; printf 'sum '; cut -c1-64 /tmp/sum | tr -d '\\n'"},
		})
		text, want, _ := strings.Cut(out, "sum ")
		sum := sha256.Sum256([]byte(text))
		if got := hex.EncodeToString(sum[:]); got != want || len(text) < 2<<20 {
			t.Errorf("%s: got %d bytes with sum %s, want %q", sh, len(text), got, want)
		}
	}
}

// A workspace is a view: what a step writes is found above, and not below.
func TestWorkspace(t *testing.T) {
	t.Parallel()
	e := connect(t)
	s := open(t, e, Outside)
	o := overlay(t)
	removed := make(chan struct{})
	out, exit := run(t, s, Step{
		Workspace: o, Workdir: "sub", Removed: func() { close(removed) },
		Run: []string{"pwd; cat ../greeting; echo changed > ../greeting; echo new > result"},
	})
	if out != "/workspace/sub\nhello\n" || exit.Code != 0 {
		t.Fatalf("got %q, %+v", out, exit)
	}
	for name, want := range map[string]string{"lower/greeting": "hello\n", "upper/greeting": "changed\n", "upper/sub/result": "new\n"} {
		if got, err := os.ReadFile(filepath.Join(filepath.Dir(o.Lower), name)); string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
	}
	<-removed
	found, err := e.api.ContainerList(t.Context(), container.ListOptions{All: true, Filters: labelled(labelInstance, e.cfg.Instance, labelKind, kindStep)})
	if len(found) > 0 || err != nil {
		t.Errorf("got %v, %v after its removal", found, err)
	}
}

// When a step's result is there, nothing of it runs any more.
func TestNothingRunsOn(t *testing.T) {
	t.Parallel()
	e := connect(t)
	s := open(t, e, Outside)
	o := overlay(t)
	removed := make(chan struct{})
	size := func() int64 {
		found, err := os.Stat(filepath.Join(o.Upper, "f"))
		if err != nil {
			t.Fatal(err)
		}
		return found.Size()
	}
	run(t, s, Step{
		Workspace: o, Removed: func() { close(removed) },
		Run: []string{"for i in $(seq 100); do while :; do echo x; done >>f & done", "while [ ! -s f ]; do :; done"},
	})
	then := size()
	<-removed
	if now := size(); now != then {
		t.Errorf("the step wrote %d bytes after its end", now-then)
	}
}

// Steps run in the order of their turns, whatever the order of their preparation,
// and also when many more are prepared than may wait.
func TestTurns(t *testing.T) {
	t.Parallel()
	e := connect(t, func(c *Config) { c.Starts = 2 })
	s := open(t, e, Outside)
	const n = 6
	steps := make([]*Prepared, n)
	for i := range n {
		steps[i] = s.Step(t.Context(), shell(Step{Name: fmt.Sprint("s", i), Network: true, Run: []string{fmt.Sprint("echo ", i)}}))
	}
	var all bytes.Buffer
	for i := n - 1; i >= 0; i-- { // the last first: it must not wait for places that the others hold
		if _, err := steps[i].Run(t.Context(), &all); err != nil {
			t.Fatal(err)
		}
	}
	if got := all.String(); got != "5\n4\n3\n2\n1\n0\n" {
		t.Errorf("got %q", got)
	}
	if _, err := steps[0].Run(t.Context(), &all); err == nil {
		t.Error("a step ran twice")
	}
}

// Steps of one lane find the ports of their predecessors free; those of another
// lane have ports of their own.
func TestLanes(t *testing.T) {
	t.Parallel()
	e := connect(t)
	s := open(t, e, Outside)
	serve := []string{"nc -l -p 8080 -e true & echo up; for i in 1 2 3 4 5 6 7 8 9; do netstat -ltn | grep -q :8080 && exit 0; sleep 0.1; done; exit 9"}
	for i := range 3 {
		if out, exit := run(t, s, Step{Network: true, Run: serve}); exit.Code != 0 {
			t.Errorf("run %d: got %q, %+v", i, out, exit)
		}
	}
	var both sync.WaitGroup
	for lane := range 2 {
		both.Go(func() {
			step := s.Step(t.Context(), shell(Step{Network: true, Lane: lane, Run: append(serve[:1:1], "sleep 0.3")}))
			if exit, err := step.Run(t.Context(), &bytes.Buffer{}); err != nil || exit.Code != 0 {
				t.Errorf("lane %d: got %+v, %v", lane, exit, err)
			}
		})
	}
	both.Wait()
	if a, b := s.lanes[0].pause, s.lanes[1].pause; a == b {
		t.Error("two lanes have one namespace")
	}
}

func TestCancelledStepIsRemoved(t *testing.T) {
	t.Parallel()
	e := connect(t)
	s := open(t, e, Outside)
	ctx, cancel := context.WithCancel(t.Context())
	removed := make(chan struct{})
	step := s.Step(t.Context(), shell(Step{Run: []string{"echo here; sleep 100"}, Removed: func() { close(removed) }}))
	_, err := step.Run(ctx, writerFunc(func(b []byte) (int, error) { cancel(); return len(b), nil }))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want it cancelled", err)
	}
	<-removed
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// What the engine or the connection does is never an exit code.
func TestOurFault(t *testing.T) {
	t.Parallel()
	e := connect(t)
	s := open(t, e, Outside)
	step := s.Step(t.Context(), shell(Step{Run: []string{"echo here; sleep 100"}}))
	_, err := step.Run(t.Context(), writerFunc(func(b []byte) (int, error) {
		return len(b), e.remove(t.Context(), step.c.id)
	}))
	if err == nil {
		t.Error("a container that was removed has a result")
	}
	full := errors.New("disk full")
	_, err = s.Step(t.Context(), shell(Step{Run: []string{"echo here"}})).Run(t.Context(), writerFunc(func([]byte) (int, error) { return 0, full }))
	if !errors.Is(err, full) {
		t.Errorf("got %v, want %v", err, full)
	}
}

// Closing a session ends what runs and takes what waits.
func TestCloseSession(t *testing.T) {
	t.Parallel()
	e := connect(t)
	s := open(t, e, Private)
	for i := range 3 {
		s.Step(t.Context(), shell(Step{Name: fmt.Sprint("never", i), Network: true}))
	}
	step := s.Step(t.Context(), shell(Step{Run: []string{"echo here; sleep 100"}, Network: true}))
	_, err := step.Run(t.Context(), writerFunc(func(b []byte) (int, error) { s.Close(t.Context()); return len(b), nil }))
	if !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want %v", err, ErrClosed)
	}
	if err := s.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustLeaveNothing(t, e.cfg.Instance)
	if _, err := s.Step(t.Context(), shell(Step{})).Run(t.Context(), &bytes.Buffer{}); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v from a closed session", err)
	}
}

// The pool hands out pauses that it made before, each once, and cleans up.
func TestPool(t *testing.T) {
	t.Parallel()
	e := connect(t, func(c *Config) { c.Warm = 2 })
	var seen []string
	for range 4 {
		id, err := e.pool.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range seen {
			if id == other {
				t.Errorf("pause %s was given twice", id)
			}
		}
		seen = append(seen, id)
	}
	for _, id := range seen {
		e.pool.discard(t.Context(), id)
	}
}

// Two containers of the pool's network do not reach each other.
func TestOutsideIsAWall(t *testing.T) {
	t.Parallel()
	e := connect(t)
	s := open(t, e, Outside)
	out, _ := run(t, s, Step{Network: true, Lane: 0, Run: []string{"ip -o -4 addr show eth0 | sed 's/.*inet //;s,/.*,,'"}})
	listen := s.Step(t.Context(), shell(Step{Network: true, Lane: 0, Run: []string{"nc -l -p 8080 -e echo open & sleep 2"}}))
	var server sync.WaitGroup
	server.Go(func() { _, _ = listen.Run(t.Context(), &bytes.Buffer{}) })
	probe := "nc -w 1 " + strings.TrimSpace(out) + " 8080 </dev/null && echo reached || echo walled"
	got, _ := run(t, s, Step{Network: true, Lane: 1, Run: []string{"sleep 0.5; " + probe}})
	server.Wait()
	if !strings.HasSuffix(got, "walled\n") {
		t.Errorf("got %q", got)
	}
}

// Reaping removes what another process left, and nothing else.
func TestReap(t *testing.T) {
	t.Parallel()
	gone := connect(t)
	s := open(t, gone, Private)
	run(t, s, Step{Network: true, Workspace: overlay(t), Run: []string{"true"}})
	s.Step(t.Context(), shell(Step{Name: "waits", Network: true}))
	if n, err := gone.Reap(t.Context(), nil); n != 0 || err != nil {
		t.Errorf("reaped %d, %v of an open session", n, err)
	}
	app, err := gone.Start(t.Context(), App{Name: objectName("app"), Owner: Owner{App: "shop"}, Image: shellImage, Command: []string{"sleep", "100"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = app.Remove(t.Context()) }()

	next, err := Connect(t.Context(), Config{Instance: gone.cfg.Instance, Warm: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = next.Close() }()
	if n, err := next.Reap(t.Context(), func(process string) bool { return process == gone.cfg.Process }); n != 0 || err != nil {
		t.Errorf("reaped %d, %v of what is live", n, err)
	}
	n, err := next.Reap(t.Context(), func(string) bool { return false })
	if n < 2 || err != nil {
		t.Errorf("reaped %d, %v, want what was left", n, err)
	}
	if err := app.Refresh(t.Context()); err != nil || app.State != "running" {
		t.Errorf("the app is %s, %v", app.State, err)
	}
	s.Close(t.Context())
}
