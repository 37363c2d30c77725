package embedded

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace-cd/millrace/pkg/attest"
	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/custody"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/store"
)

// What is wrong with a commit ends its delivery with a reason that helps, at the
// first stage, without a retry.
func TestWrongCommits(t *testing.T) {
	w := start(t, "busybox:1.37")
	ok := repository(t, "page", page("one", "PORT", "8080"))
	change := func(f func(c *event.Commit)) event.Commit {
		c := ok
		f(&c)
		return c
	}
	write := func(name, content string) func(string) {
		return func(dir string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name    string
		commit  event.Commit
		outcome event.Outcome
		reason  string
	}{
		{"no such commit", change(func(c *event.Commit) { c.Hash = strings.Repeat("1", 40) }), event.Failed, "not found"},
		{"no such repository", change(func(c *event.Commit) { c.Repository += "x" }), event.Failed, "not found"},
		{"protocol not allowed", change(func(c *event.Commit) { c.Repository = "ext::sh -c touch% /tmp/pwned" }), event.Refused, ""},
		{"no file", repository(t, "page", write("README", "x")), event.Failed, "there is no millrace.yaml"},
		{"wrong file", repository(t, "page", write("millrace.yaml", "version: 1\nname: page\ntests: {}\n")), event.Failed, `did you mean "test"?`},
		{"another app", repository(t, "page", page("x", "PORT", "8080", "name: page", "name: other")), event.Failed, `of app "other"`},
	}
	for _, tt := range tests {
		facts := w.deliver(tt.commit)
		if len(facts) != 1 || facts[0].Outcome != tt.outcome || !strings.Contains(facts[0].Reason, tt.reason) || facts[0].Attempt != 1 {
			t.Errorf("%s: got %s at attempt %d: %s", tt.name, path(facts), facts[0].Attempt, facts[0].Reason)
		}
	}
}

// A byte that changes in the registry, a blob that is not there, or an event that says
// what nobody signed ends the delivery as refused, and the reason names the link that
// broke.
func TestBrokenChain(t *testing.T) {
	w := start(t, "busybox:1.37")
	facts := w.deliver(repository(t, "page", page("in the snapshot", "PORT", "8080", "cp /bin/busybox dist/", "cp /bin/busybox dist/ && printf 'made-%s' here > dist/www/made.txt")))
	if path(facts) != delivered {
		t.Fatalf("%s: %s", path(facts), facts[len(facts)-1].Reason)
	}
	released := facts[2].Released
	tests := []struct {
		name   string
		change func(r *event.Released)
		stage  string // whose success is told
		reason string
	}{
		{"statement of another delivery", func(*event.Released) {}, event.StageTest, "at the statement of the tester: its number is"},
		{"no statement", func(r *event.Released) { r.TestStatement = "" }, event.StageTest, "at the statement of the tester: there is none"},
		{"another commit", func(r *event.Released) { w.sign(r); r.Hash = strings.Repeat("1", 40) }, event.StageTest, "its commit is"},
		{"another image", func(r *event.Released) {
			w.sign(r)
			r.Images = map[string]string{"busybox:1.37": "evil@" + r.Snapshot.Digest}
		}, event.StageTest, "its images is"},
		{"another snapshot", func(r *event.Released) { w.sign(r); r.Snapshot.Digest = "sha256:" + strings.Repeat("0", 64) }, event.StageTest, "is not about sha256:000"},
		{"another artifact", func(r *event.Released) { w.sign(r); r.Artifact = r.Snapshot }, event.StageBuild, "at the statement of the builder: it is not about"},
		{"another release", func(r *event.Released) {
			w.sign(r)
			r.Image = "127.0.0.1:1/evil@" + r.Snapshot.Digest
		}, event.StageRelease, "at the statement of the releaser: it is not about"},
		{"other tests", func(r *event.Released) { w.sign(r); r.Environments = []string{"elsewhere"} }, event.StageRelease, "its environments is"},
		{"artifact", func(r *event.Released) { w.signBuilt(&r.Built); w.flip("made-here") }, event.StageBuild, "the chain of custody is broken at the artifact"},
		{"snapshot", func(r *event.Released) { w.signBuilt(&r.Built); w.flip("in the snapshot\n") }, event.StageTest, "the chain of custody is broken at the snapshot"},
		{"statement", func(r *event.Released) { w.sign(r); w.flipBlob(r.ReleaseStatement) }, event.StageRelease, "at the statement of the releaser: get blob"},
	}
	for i, tt := range tests {
		number := uint64(100 + i) //nolint:gosec // small
		r := released
		r.Number = number
		tt.change(&r)
		e := map[string]event.Event{event.StageTest: r.Tested, event.StageBuild: r.Built, event.StageRelease: r}[tt.stage]
		w.refused(tt.name, e, tt.reason)
	}
}

// sign lets the services state what r says, as if all of it were so.
func (w world) sign(r *event.Released, tags ...string) {
	w.t.Helper()
	w.signBuilt(&r.Built)
	_, digest, _ := strings.Cut(r.Image, "@")
	c := w.clerk(custody.Releaser)
	if err := c.SignReleased(w.t.Context(), r, c.Registry.Repository(r.App, store.Image)+"@"+digest, tags...); err != nil {
		w.t.Fatal(err)
	}
}

func (w world) signBuilt(b *event.Built) {
	w.t.Helper()
	err := errors.Join(w.clerk(custody.Tester).SignTested(w.t.Context(), &b.Tested), w.clerk(custody.Builder).SignBuilt(w.t.Context(), b, nil))
	if err != nil {
		w.t.Fatal(err)
	}
}

// clerk signs as a service does.
func (w world) clerk(service string) custody.Clerk {
	w.t.Helper()
	keys, err := attest.Open(attest.Config{Dir: w.Keys, Service: service})
	if err != nil {
		w.t.Fatal(err)
	}
	return custody.Clerk{Registry: w.store(), Keys: keys}
}

// store is the installation's registry.
func (w world) store() *store.Store {
	w.t.Helper()
	s, err := store.Open(store.Config{Registry: w.Registry})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// What a fork or pull request brings is tested and goes no further.
func TestUntrusted(t *testing.T) {
	w := start(t, "busybox:1.37")
	c := repository(t, "page", page("one", "PORT", "8080"))
	c.Untrusted = true
	if facts := w.deliver(c); path(facts) != "test:succeeded" {
		t.Errorf("%s: %s", path(facts), facts[len(facts)-1].Reason)
	}
	c.Untrusted = false
	facts := w.deliver(c) // by the builder this one is seen after the other
	if path(facts) != delivered {
		t.Errorf("%s: %s", path(facts), facts[len(facts)-1].Reason)
	}
	if _, found, err := w.Bus.Result(t.Context(), bus.Key{Stage: event.StageBuild, App: "page", Number: 1}); err != nil || found {
		t.Errorf("an untrusted commit was built: %v", err)
	}
}

// refused lets e arrive as the success of a delivery of its own, and wants the next
// stage to refuse it.
func (w world) refused(name string, e event.Event, reason string) {
	w.t.Helper()
	c := e.Origin()
	k := bus.Key{Stage: e.Stage(), App: c.App, Number: c.Number}
	if _, _, err := w.Bus.Record(w.t.Context(), k, e, event.Result{StageName: e.Stage(), Outcome: event.Succeeded}, nil); err != nil {
		w.t.Fatal(err)
	}
	facts := w.facts(k.App, k.Number)
	if last := facts[len(facts)-1]; len(facts) != 2 || last.Outcome != event.Refused || !strings.Contains(last.Reason, reason) || last.Attempt != 1 {
		w.t.Errorf("%s: %s at attempt %d: %s; want refused: %s", name, path(facts), last.Attempt, last.Reason, reason)
	}
}

// flip changes one byte of every file in the registry that holds text, and makes the
// services fetch what they had unpacked.
func (w world) flip(text string) {
	w.t.Helper()
	n := 0
	err := filepath.WalkDir(filepath.Join(w.dir, "registry"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if i := bytes.Index(data, []byte(text)); err == nil && i >= 0 {
			n++
			data[i] ^= 1
			err = os.WriteFile(path, data, 0o600)
		}
		return err
	})
	if err != nil || n == 0 {
		w.t.Fatalf("%q is in no file of the registry: %v", text, err)
	}
	trees := filepath.Join(w.dir, "data", "trees", "trees")
	if err := errors.Join(os.RemoveAll(trees), os.MkdirAll(trees, 0o711)); err != nil {
		w.t.Fatal(err)
	}
}

// flipBlob changes the last byte of a blob, wherever the registry has it.
func (w world) flipBlob(digest string) {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(w.dir, "registry", "*", "*", "*", "blobs", "sha256", strings.TrimPrefix(digest, "sha256:")))
	if err != nil || len(files) == 0 {
		w.t.Fatalf("no blob %s: %v", digest, err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err == nil {
			data[len(data)-1] ^= 1
			err = os.WriteFile(name, data, 0o600)
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
}
