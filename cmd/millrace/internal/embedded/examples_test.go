package embedded

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/standin"
)

// world is a running Millrace of one test, and the repositories it delivers.
type world struct {
	*Embedded
	t   *testing.T
	dir string
}

// start starts Millrace in a directory of the test's, and removes all of it from
// the engine at the end.
func start(t *testing.T, images ...string) world {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a Docker engine")
	}
	instance := fmt.Sprintf("test-%d-%d", os.Getpid(), time.Now().UnixNano()%1e6)
	dir := t.TempDir()
	e, err := Start(t.Context(), Options{Dir: dir, Protocols: []string{"file"}, Instance: instance})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := e.Purge(ctx); err != nil {
			t.Error(err)
		}
		if err := e.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	for _, ref := range images {
		if _, err := e.Engine.Resolve(t.Context(), ref, container.PullMissing); err == nil {
			continue
		}
		if _, err := standin.Make(t.Context(), e.Engine, ref, io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	return world{e, t, dir}
}

// repository makes one of files, with one commit, and returns the event that would
// deliver it.
func repository(t *testing.T, app string, write func(dir string)) event.Commit {
	t.Helper()
	dir := t.TempDir()
	write(dir)
	git := func(args ...string) string {
		cmd := exec.Command("git", append([]string{"-c", "user.name=Ann", "-c", "user.email=ann@example.com", "-c", "init.defaultBranch=main"}, args...)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %s: %v\n%s", args[0], err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q")
	git("add", "-A")
	git("commit", "-q", "-m", "Begin "+app)
	return event.Commit{App: app, Repository: "file://" + dir, Hash: git("rev-parse", "HEAD"), Ref: "refs/heads/main"}
}

// again makes another commit in the repository of c.
func again(t *testing.T, c event.Commit, write func(dir string)) event.Commit {
	t.Helper()
	dir := strings.TrimPrefix(c.Repository, "file://")
	write(dir)
	for _, args := range [][]string{{"add", "-A"}, {"-c", "user.name=Ann", "-c", "user.email=ann@example.com", "commit", "-q", "-m", "Go on"}} {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git: %v\n%s", err, out)
		}
	}
	cmd := exec.Command("git", "rev-parse", "HEAD")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	c.Hash = strings.TrimSpace(string(out))
	return c
}

func example(t *testing.T, app string) event.Commit {
	t.Helper()
	return repository(t, app, func(dir string) {
		if err := os.CopyFS(dir, os.DirFS(filepath.Join("../../../../examples", app))); err != nil {
			t.Fatal(err)
		}
	})
}

// deliver publishes c and waits for the end of its delivery. It returns all its
// facts, in order.
func (w world) deliver(c event.Commit) []event.Fact {
	w.t.Helper()
	n, err := w.Bus.Publish(w.t.Context(), c, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.facts(c.App, n)
}

func (w world) facts(app string, n uint64) (facts []event.Fact) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 4*time.Minute)
	defer cancel()
	err := w.Bus.Follow(ctx, bus.Deliveries, []string{fmt.Sprintf("delivery.*.*.%s.%d", app, n), fmt.Sprintf("delivery.*.*.%s.%d.*", app, n)}, func(e bus.Entry) error {
		f, err := event.Decode(e.Data)
		if err != nil {
			return err
		}
		if facts = append(facts, f); f.Ends() {
			return bus.ErrStopped
		}
		return nil
	})
	if err != nil || len(facts) == 0 || !facts[len(facts)-1].Ends() {
		w.t.Fatalf("delivery %d of %s did not end: %v, %+v", n, app, err, facts)
	}
	return facts
}

// path is how a delivery went, as test:succeeded build:failed.
func path(facts []event.Fact) string {
	var parts []string
	for _, f := range facts {
		parts = append(parts, f.StageName+":"+string(f.Outcome))
	}
	return strings.Join(parts, " ")
}

// tags asks the registry.
func (w world) tags(repository string) []string {
	w.t.Helper()
	r, err := name.NewRepository(w.Registry+"/"+repository, name.Insecure)
	if err != nil {
		w.t.Fatal(err)
	}
	tags, err := remote.List(r)
	if err != nil && !strings.Contains(err.Error(), "NAME_UNKNOWN") && !strings.Contains(err.Error(), "404") {
		w.t.Fatal(err)
	}
	return tags
}

func get(t *testing.T, url string) string {
	t.Helper()
	answer, err := http.Get(url) //nolint:noctx // the test's own app
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

const delivered = "test:succeeded build:succeeded release:succeeded deploy:succeeded"

func TestExamples(t *testing.T) {
	w := start(t, "golang:1.26", "busybox:1.37")
	t.Run("hello", func(t *testing.T) {
		facts := w.deliver(example(t, "hello"))
		last := facts[len(facts)-1]
		if path(facts) != delivered {
			t.Fatalf("%s: %s", path(facts), last.Reason)
		}
		if body := get(t, last.URL); !strings.Contains(body, "Hello") {
			t.Errorf("the deployed app says %q", body)
		}
		if !slices.Contains(w.tags("hello"), last.Short()) {
			t.Errorf("tags %v, want %s among them", w.tags("hello"), last.Short())
		}
	})
	t.Run("shell", func(t *testing.T) {
		if facts := w.deliver(example(t, "shell")); path(facts) != delivered {
			t.Errorf("%s: %s", path(facts), facts[len(facts)-1].Reason)
		}
	})
	t.Run("red", func(t *testing.T) {
		facts := w.deliver(example(t, "red"))
		if path(facts) != "test:failed" || !strings.Contains(facts[0].Reason, "step unit: exited with") {
			t.Errorf("%s: %s", path(facts), facts[0].Reason)
		}
	})
	t.Run("unaccepted", func(t *testing.T) {
		facts := w.deliver(example(t, "unaccepted"))
		if path(facts) != "test:succeeded build:succeeded release:failed" {
			t.Errorf("%s: %s", path(facts), facts[len(facts)-1].Reason)
		}
		if tags := w.tags("unaccepted"); len(tags) != 0 {
			t.Errorf("a release that was not accepted has tags %v", tags)
		}
	})
}
