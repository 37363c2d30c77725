// Package e2e delivers real commits with every service in a container of its own, from
// the images of deploy/Dockerfile, and asks git, the registry and the engine whether
// what the events say is so.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/standin"
)

const root = "../.."

// images makes those of deploy/Dockerfile, and those that the examples run in, once.
var images = sync.OnceValue(func() error {
	cmd := exec.Command("make", "--no-print-directory", "images")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make images: %w\n%s", err, out)
	}
	ctx := context.Background()
	e, err := container.Connect(ctx, container.Config{Instance: "e2e-images", Warm: -1})
	if err != nil {
		return err
	}
	for _, ref := range []string{"golang:1.26", "busybox:1.37"} {
		if _, pull := e.Resolve(ctx, ref, container.PullMissing); pull != nil {
			_, make := standin.Make(ctx, e, ref, io.Discard)
			err = errors.Join(err, make)
		}
	}
	return errors.Join(err, e.Close())
})

// world is an installation of one test: where it is reached, and what it is called
// on the engine.
type world struct {
	t        *testing.T
	instance string
	data     string // directory of trees and mirrors, the same for services and engine
	repos    string // directory of repositories
	nats     string // port on loopback
	registry string // port on loopback
	keys     string // directory of all keys; "" before there are any
	bus      *bus.Bus
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a Docker engine and a minute")
	}
	if err := images(); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TESTCONTAINERS_HOST_OVERRIDE", "127.0.0.1")
	t.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true") // we clean up ourselves, by label
	w := &world{t: t, instance: fmt.Sprintf("e2e-%d", time.Now().UnixNano()%1e9), data: t.TempDir(), repos: t.TempDir(), nats: freePort(t), registry: freePort(t)}
	t.Cleanup(w.purge)
	return w
}

// purge removes what the services made, whether they ended well or were killed.
func (w *world) purge() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	e, err := container.Connect(ctx, container.Config{Instance: w.instance, Warm: -1})
	if err != nil {
		w.t.Error(err)
		return
	}
	err = e.Purge(ctx)
	refs, listErr := e.ImagesNamed(ctx, w.public()+"/")
	err = errors.Join(err, listErr)
	for _, ref := range refs {
		err = errors.Join(err, e.RemoveImage(ctx, ref))
	}
	if err := errors.Join(err, e.Close()); err != nil {
		w.t.Error(err)
	}
}

// public is the registry as the engine and people name it.
func (w *world) public() string { return "127.0.0.1:" + w.registry }

// dial connects this test to the installation's NATS.
func (w *world) dial() {
	w.t.Helper()
	nc, err := nats.Connect("nats://127.0.0.1:"+w.nats, nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(nc.Close)
	if w.bus, err = bus.Open(nc); err != nil {
		w.t.Fatal(err)
	}
	await(w.t, time.Minute, "streams", func() error { return w.bus.Ready(w.t.Context()) })
}

// await asks until there is no error any more.
func await(t *testing.T, limit time.Duration, what string, ask func() error) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(limit)
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("waited %s for %s: %v", limit, what, err)
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// repository makes one of an example, with n commits that differ, and returns the
// events that deliver them.
func (w *world) repository(example string, n int) (commits []event.Commit) {
	w.t.Helper()
	dir := filepath.Join(w.repos, example)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(root, "examples", example))); err != nil {
		w.t.Fatal(err)
	}
	w.git(dir, "init", "-q", "-b", "main")
	for i := range n {
		if err := os.WriteFile(filepath.Join(dir, "CHANGES"), fmt.Appendf(nil, "change %d\n", i), 0o644); err != nil {
			w.t.Fatal(err)
		}
		w.git(dir, "add", "-A")
		w.git(dir, "commit", "-q", "-m", fmt.Sprintf("Change %d", i))
		commits = append(commits, event.Commit{App: example, Repository: "file://" + dir, Hash: w.git(dir, "rev-parse", "HEAD"), Ref: "refs/heads/main"})
	}
	return commits
}

func (w *world) git(dir string, args ...string) string {
	w.t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=Ann", "-c", "user.email=ann@example.com"}, args...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// publish starts deliveries and returns their numbers.
func (w *world) publish(commits ...event.Commit) (numbers []uint64) {
	w.t.Helper()
	for _, c := range commits {
		n, err := w.bus.Publish(w.t.Context(), c, nil)
		if err != nil {
			w.t.Fatal(err)
		}
		numbers = append(numbers, n)
	}
	return numbers
}

// ends waits until each delivery has ended, and returns their facts by number, in
// order.
func (w *world) ends(numbers []uint64, limit time.Duration) map[uint64][]event.Fact {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), limit)
	defer cancel()
	facts := map[uint64][]event.Fact{}
	open := map[uint64]bool{}
	for _, n := range numbers {
		open[n] = true
	}
	err := w.bus.Follow(ctx, bus.Deliveries, []string{"delivery.>"}, func(e bus.Entry) error {
		f, err := event.Decode(e.Data)
		if err != nil {
			return err
		}
		facts[f.Number] = append(facts[f.Number], f)
		if f.Ends() {
			delete(open, f.Number)
		}
		if len(open) == 0 {
			return bus.ErrStopped
		}
		return nil
	})
	if err != nil || len(open) > 0 {
		w.t.Fatalf("deliveries %v did not end within %s: %v", open, limit, err)
	}
	return facts
}

// path is how a delivery went, as test:succeeded build:failed.
func path(facts []event.Fact) string {
	parts := make([]string, 0, len(facts))
	for _, f := range facts {
		parts = append(parts, f.StageName+":"+string(f.Outcome))
	}
	return strings.Join(parts, " ")
}

const delivered = "test:succeeded build:succeeded release:succeeded deploy:succeeded"
