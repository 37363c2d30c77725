package embedded

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/event"
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

// A byte that changes in the registry, or a blob that is not there, ends the
// delivery as refused, and the reason names the link that broke.
func TestBrokenChain(t *testing.T) {
	w := start(t, "busybox:1.37")
	facts := w.deliver(repository(t, "page", page("in the snapshot", "PORT", "8080", "cp /bin/busybox dist/", "cp /bin/busybox dist/ && printf 'made-%s' here > dist/www/made.txt")))
	if path(facts) != delivered {
		t.Fatalf("%s: %s", path(facts), facts[len(facts)-1].Reason)
	}
	built := facts[1].Built

	missing := built.Tested
	missing.Snapshot.Digest = "sha256:" + strings.Repeat("0", 64)
	w.refused(101, missing, "the chain of custody is broken at the snapshot")

	if flip(t, filepath.Join(w.dir, "registry"), "made-here") != 1 {
		t.Fatal("the artifact is not in the registry as it is")
	}
	w.forgetTrees()
	w.refused(102, built, "the chain of custody is broken at the artifact")

	if flip(t, filepath.Join(w.dir, "registry"), "in the snapshot\n") == 0 {
		t.Fatal("the snapshot is not in the registry as it is")
	}
	w.forgetTrees()
	w.refused(103, built.Tested, "the chain of custody is broken at the snapshot")
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
func (w world) refused(number uint64, e event.Event, reason string) {
	w.t.Helper()
	switch x := e.(type) {
	case event.Tested:
		x.Number = number
		e = x
	case event.Built:
		x.Number = number
		e = x
	}
	k := bus.Key{Stage: e.Stage(), App: e.Origin().App, Number: number}
	if _, _, err := w.Bus.Record(w.t.Context(), k, e, event.Result{StageName: e.Stage(), Outcome: event.Succeeded}, nil); err != nil {
		w.t.Fatal(err)
	}
	facts := w.facts(k.App, number)
	if last := facts[len(facts)-1]; len(facts) != 2 || last.Outcome != event.Refused || !strings.Contains(last.Reason, reason) || last.Attempt != 1 {
		w.t.Errorf("%s at attempt %d: %s; want refused: %s", path(facts), last.Attempt, last.Reason, reason)
	}
}

// forgetTrees makes the services fetch what they had unpacked.
func (w world) forgetTrees() {
	w.t.Helper()
	if err := os.RemoveAll(filepath.Join(w.dir, "data", "trees", "trees")); err != nil {
		w.t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(w.dir, "data", "trees", "trees"), 0o711); err != nil {
		w.t.Fatal(err)
	}
}

// flip changes one byte of every file below dir that holds text.
func flip(t *testing.T, dir, text string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if i := bytes.Index(data, []byte(text)); i >= 0 {
			data[i] ^= 1
			n++
			return os.WriteFile(path, data, 0o600)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
