package container

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
)

// An engine that restarts ends the warm pauses; then somebody may remove their network,
// which looks unused.
func TestPoolOfARestartedEngine(t *testing.T) {
	t.Parallel()
	e := connect(t)
	p := newPool(e, 0)
	t.Cleanup(p.close)
	dead, err := p.make(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p.warm = make(chan string, 1)
	p.warm <- dead
	e.signal(t.Context(), dead, "KILL")
	if r, err := e.Find(t.Context(), dead); err != nil {
		t.Fatal(err)
	} else if _, err := r.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustTake(t, p)
	if err := e.removeNetwork(t.Context(), p.network); err != nil {
		t.Fatal(err)
	}
	mustTake(t, p)
}

// mustTake takes a pause that runs, and removes it.
func mustTake(t *testing.T, p *pool) {
	t.Helper()
	id, err := p.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r, err := p.e.Find(t.Context(), id); err != nil || r.State != "running" {
		t.Errorf("got %+v, %v from the pool", r, err)
	}
	p.discard(t.Context(), id)
}

// The pool fills again after a time when it could not.
func TestPoolRefills(t *testing.T) {
	t.Parallel()
	r := newRelay(t)
	failed := make(chan struct{}, 8)
	e := connect(t, func(c *Config) {
		c.Host = "unix://" + r.address
		c.Trouble = func(error) { failed <- struct{}{} }
	})
	r.refuse(true)
	p := newPool(e, 1)
	t.Cleanup(p.close)
	<-failed
	r.refuse(false)
	id, err := p.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p.discard(t.Context(), id)
	select {
	case id := <-p.warm:
		p.discard(t.Context(), id)
	case <-time.After(20 * time.Second):
		t.Error("the pool stays empty")
	}
}

// A session that closes does not wait for services that get ready late or never.
func TestCloseWhileServiceStarts(t *testing.T) {
	t.Parallel()
	for name, probe := range map[string]Probe{"tcp": {TCP: 81}, "log": {Log: "never"}, "run": {Run: []string{"echo asked; sleep 60"}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := connect(t)
			s := open(t, e, Private)
			var starting sync.WaitGroup
			starting.Go(func() {
				_, err := s.Service(t.Context(), Service{Name: "db", Image: shellImage, Command: []string{"sleep", "100"}, Ready: &probe})
				if !errors.Is(err, ErrClosed) {
					t.Errorf("got %v, want %v", err, ErrClosed)
				}
			})
			awaitService(t, e, s)
			s.Close(t.Context())
			ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
			defer cancel()
			if err := s.Wait(ctx); err != nil {
				t.Errorf("the session is not over: %v", err)
			}
			starting.Wait()
		})
	}
}

// awaitService returns when a service of the session runs.
func awaitService(t *testing.T, e *Engine, s *Session) {
	t.Helper()
	for sleep(t.Context(), 50*time.Millisecond) {
		found, err := e.api.ContainerList(t.Context(), container.ListOptions{Filters: labelled(labelSession, s.id, labelKind, kindService)})
		if err != nil {
			t.Fatal(err)
		}
		if len(found) > 0 {
			return
		}
	}
}

// A step whose turn has not come when the session closes never gets it.
func TestCloseBeforeTurn(t *testing.T) {
	t.Parallel()
	e := connect(t)
	s := open(t, e, Outside)
	o := overlay(t)
	first := s.Step(t.Context(), shell(Step{Name: "first", Network: true, Run: []string{"echo here; sleep 100"}}))
	second := s.Step(t.Context(), shell(Step{Name: "second", Network: true, Run: []string{"echo >ran"}, Workspace: o}))
	<-second.ready
	var waiting sync.WaitGroup
	_, err := first.Run(t.Context(), writerFunc(func(b []byte) (int, error) {
		waiting.Go(func() {
			if _, err := second.Run(t.Context(), io.Discard); !errors.Is(err, ErrClosed) {
				t.Errorf("got %v, want %v", err, ErrClosed)
			}
		})
		<-second.wanted
		s.Close(t.Context())
		return len(b), nil
	}))
	waiting.Wait()
	if !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want %v", err, ErrClosed)
	}
	if err := s.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(o.Upper, "ran")); err == nil {
		t.Error("it ran after the end of its session")
	}
}

// That an image was removed meanwhile is nobody's fault: it is resolved again.
func TestImageRemovedMeanwhile(t *testing.T) {
	t.Parallel()
	e := connect(t)
	s := open(t, e, Private)
	const gone = "sha256:00000000000000000000000000000000000000000000000000000000000000ff"
	_, stepErr := s.Step(t.Context(), Step{Name: "unit", Image: gone}).Run(t.Context(), &bytes.Buffer{})
	_, serviceErr := s.Service(t.Context(), Service{Name: "db", Image: gone})
	_, appErr := e.Start(t.Context(), App{Name: objectName("app"), Image: gone})
	for _, err := range []error{stepErr, serviceErr, appErr} {
		if err == nil || errors.Is(err, ErrNoImage) || errors.Is(err, ErrStep) || !strings.Contains(err.Error(), gone) {
			t.Errorf("got %v, want that it was removed", err)
		}
	}
}

// The answer of an engine may be lost; what it was about is removed all the same.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	for _, request := range []string{"/networks/create", "/containers/create", "/volumes/create"} {
		t.Run(request, func(t *testing.T) {
			t.Parallel()
			r := newRelay(t)
			e := connect(t, func(c *Config) { c.Host = "unix://" + r.address; c.Trouble = nil })
			if err := e.ensurePause(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.lose(request)
			s, err := e.Open(t.Context(), Owner{App: "shop"}, SessionOptions{Network: Private})
			if err == nil {
				cache := []Mount{{Target: "/c", Volume: e.CacheName("shop", "x")}}
				_, err = s.Step(t.Context(), shell(Step{Network: true, Mounts: cache})).Run(t.Context(), io.Discard)
				s.Close(t.Context())
				if err := s.Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := e.RemoveVolume(t.Context(), cache[0].Volume); err != nil {
					t.Error(err)
				}
			}
			if err == nil {
				t.Error("got no error for a lost answer")
			}
		})
	}
}

// A session's network that is gone is trouble for nobody else, and no verdict.
func TestNetworkRemoved(t *testing.T) {
	t.Parallel()
	e := connect(t)
	s := open(t, e, Private)
	<-s.lanes[0].ready
	if err := errors.Join(s.lanes[0].err, e.api.NetworkDisconnect(t.Context(), s.network, s.lanes[0].pause, true), e.removeNetwork(t.Context(), s.network)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Service(t.Context(), Service{Name: "db", Image: shellImage, Command: []string{"sleep", "9"}}); err == nil || errors.Is(err, ErrStep) {
		t.Errorf("got %v on a network that is gone", err)
	}
	if _, err := e.api.NetworkInspect(t.Context(), s.network, network.InspectOptions{}); err == nil {
		t.Error("the network is there")
	}
}

// Closing is done once, however often it is asked for.
func TestCloseTwice(t *testing.T) {
	t.Parallel()
	e := connect(t)
	if err := errors.Join(e.Close(), e.Close()); err != nil {
		t.Error(err)
	}
	if _, err := e.Open(t.Context(), Owner{}, SessionOptions{}); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v from a closed engine", err)
	}
}

// Purging takes the caches too.
func TestPurge(t *testing.T) {
	t.Parallel()
	e := connect(t)
	s := open(t, e, Outside)
	name := e.CacheName("shop", "x")
	t.Cleanup(func() { _ = e.RemoveVolume(context.Background(), name) })
	run(t, s, Step{Run: []string{"true"}, Mounts: []Mount{{Target: "/c", Volume: name}}})
	s.Close(t.Context())
	if err := errors.Join(s.Wait(t.Context()), e.Purge(t.Context())); err != nil {
		t.Error(err)
	}
	if _, err := e.api.VolumeInspect(t.Context(), name); !errdefs.IsNotFound(err) {
		t.Errorf("got %v, want no cache left", err)
	}
}

// A process whose name would not read back from labels is refused.
func TestProcessName(t *testing.T) {
	t.Parallel()
	if _, err := Connect(t.Context(), Config{Instance: "x", Process: "host/1"}); err == nil {
		t.Error("got no error for a slash")
	}
}
