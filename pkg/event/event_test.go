package event

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var at = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func deployed() Deployed {
	c := Commit{App: "shop", Number: 7, Repository: "https://x/shop.git", Hash: strings.Repeat("a", 40), Ref: "refs/heads/main", Author: "Ann", Message: "Say hello", Time: at, Accepted: at}
	t := Tested{Commit: c, Tree: "t", Snapshot: Blob{Repository: "r/millrace/shop/snapshot", Digest: "sha256:1", Files: 3, Bytes: 100}, Images: map[string]string{"golang:1.26": "golang@sha256:9"}, Environments: []string{"production"}, Tests: []Step{{Name: "unit", Result: ResultSuccess, Seconds: 1.5}}}
	return Deployed{Released: Released{Built: Built{Tested: t, Artifact: Blob{Repository: "r/millrace/shop/artifact", Digest: "sha256:2", Files: 1, Bytes: 50}}, Image: "r/shop@sha256:3", Tags: []string{"aaaaaaa"}}, Environment: "production", URL: "http://127.0.0.1:80"}
}

// The contract on the bus, literally: others read it.
func TestFormat(t *testing.T) {
	want := `{"app":"shop","number":7,"repository":"https://x/shop.git","commit":"` + strings.Repeat("a", 40) + `","ref":"refs/heads/main","author":"Ann","message":"Say hello","time":"2026-01-02T03:04:05Z","accepted":"2026-01-02T03:04:05Z",` +
		`"tree":"t","snapshot":{"repository":"r/millrace/shop/snapshot","digest":"sha256:1","files":3,"bytes":100},"images":{"golang:1.26":"golang@sha256:9"},"environments":["production"],"tests":[{"name":"unit","result":"success","seconds":1.5}],` +
		`"artifact":{"repository":"r/millrace/shop/artifact","digest":"sha256:2","files":1,"bytes":50},"image":"r/shop@sha256:3","tags":["aaaaaaa"],"environment":"production","url":"http://127.0.0.1:80",` +
		`"stage":"deploy","outcome":"succeeded","attempt":1,"worker":"w","started":"2026-01-02T03:04:05Z","finished":"2026-01-02T03:04:05Z"}`
	r := Result{StageName: StageDeploy, Outcome: Succeeded, Attempt: 1, Worker: "w", Started: at, Finished: at}
	got, err := Encode(deployed(), r)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	fact, err := Decode(got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Fact{deployed(), r}, fact); diff != "" {
		t.Errorf("does not come back: %s", diff)
	}
}

// A later stage's message reads as any earlier event, and unknown fields do no harm.
func TestGrowth(t *testing.T) {
	data, err := Encode(deployed(), Result{})
	if err != nil {
		t.Fatal(err)
	}
	data = append([]byte(`{"later":{"x":[1]},`), data[1:]...)
	var got Built
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(deployed().Built, got); diff != "" {
		t.Error(diff)
	}
}

func TestTooLarge(t *testing.T) {
	if _, err := Encode(Commit{Message: strings.Repeat("x", MaxBytes)}, Result{}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}

func TestStages(t *testing.T) {
	for want, e := range map[string]Event{"": Commit{}, "test": Tested{}, "build": Built{}, "release": Released{}, "deploy": Deployed{}} {
		if got := e.Stage(); got != want {
			t.Errorf("%T is of stage %q, want %q", e, got, want)
		}
	}
}

func untrusted(f Fact) Fact {
	f.Untrusted = true
	return f
}

func TestEnds(t *testing.T) {
	fact := func(stage string, o Outcome, env string, envs ...string) Fact {
		f := Fact{Result: Result{StageName: stage, Outcome: o}}
		f.Environment, f.Environments = env, envs
		return f
	}
	tests := []struct {
		name string
		fact Fact
		want bool
	}{
		{"tested", fact(StageTest, Succeeded, ""), false},
		{"failed", fact(StageTest, Failed, ""), true},
		{"tested, untrusted", untrusted(fact(StageTest, Succeeded, "")), true},
		{"superseded", fact(StageDeploy, Superseded, "a", "a", "b"), true},
		{"released, to deploy", fact(StageRelease, Succeeded, "", "a"), false},
		{"released, nowhere to go", fact(StageRelease, Succeeded, ""), true},
		{"first environment", fact(StageDeploy, Succeeded, "a", "a", "b"), false},
		{"last environment", fact(StageDeploy, Succeeded, "b", "a", "b"), true},
	}
	for _, tt := range tests {
		if got := tt.fact.Ends(); got != tt.want {
			t.Errorf("%s: ends = %t", tt.name, got)
		}
	}
}

func TestCheck(t *testing.T) {
	good := Commit{App: "shop", Repository: "https://x/y", Hash: strings.Repeat("0", 64), Ref: "refs/tags/v1.0", Path: "a/b"}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	tests := map[string]func(*Commit){
		"app empty": func(c *Commit) { c.App = "" }, "app dash": func(c *Commit) { c.App = "-x" }, "app dot": func(c *Commit) { c.App = "a.b" }, "app digit": func(c *Commit) { c.App = "1a" },
		"hash empty": func(c *Commit) { c.Hash = "" }, "hash 39": func(c *Commit) { c.Hash = c.Hash[:39] }, "hash upper": func(c *Commit) { c.Hash = strings.Repeat("A", 40) },
		"repo empty": func(c *Commit) { c.Repository = "" }, "repo option": func(c *Commit) { c.Repository = "-x" }, "repo newline": func(c *Commit) { c.Repository = "https://x\ny" },
		"ref short": func(c *Commit) { c.Ref = "main" }, "ref dots": func(c *Commit) { c.Ref = "refs/heads/a..b" }, "ref lock": func(c *Commit) { c.Ref = "refs/heads/a.lock" }, "ref space": func(c *Commit) { c.Ref = "refs/heads/a b" },
		"ref empty": func(c *Commit) { c.Ref = "refs/heads/" }, "ref dash": func(c *Commit) { c.Ref = "refs/heads/-a" }, "ref glob": func(c *Commit) { c.Ref = "refs/heads/*" }, "ref control": func(c *Commit) { c.Ref = "refs/heads/a\x1b" },
		"path up": func(c *Commit) { c.Path = "../x" }, "path absolute": func(c *Commit) { c.Path = "/x" }, "path unclean": func(c *Commit) { c.Path = "a/../b" },
	}
	for name, change := range tests {
		c := good
		change(&c)
		if c.Check() == nil {
			t.Errorf("%s: nothing is wrong with %+v", name, c)
		}
	}
}
