package delivery

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace-cd/millrace/pkg/event"
)

// told is the changes of a whole delivery, in order.
func told() []string {
	want := []string{"accepted"}
	for _, stage := range []string{"test", "build", "release"} {
		for _, kind := range []string{"stage-started", "step-started unit", "step-finished unit", "stage-ended"} {
			want = append(want, stage+" "+kind)
		}
	}
	for _, env := range []string{"staging", "production"} {
		want = append(want, "deploy "+env+" stage-started", "deploy "+env+" stage-ended")
	}
	return want
}

func short(c Change) string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", c.Stage.Title(), c.Kind, c.Step.Name))
}

// TestFollow follows from the start, from the middle and after the end: all see the
// same, each once.
func TestFollow(t *testing.T) {
	w := newWorld(t)
	n := w.commit("shop")
	type result struct {
		seen []string
		last Delivery
		err  error
	}
	results := make(chan result, 3)
	follow := func() {
		var r result
		began := make(chan struct{})
		go func() {
			r.last, r.err = Follow(t.Context(), w.bus, n, func(_ Delivery, c Change) {
				if r.seen = append(r.seen, short(c)); len(r.seen) == 1 {
					close(began)
				}
			})
			results <- r
		}()
		<-began
	}
	follow()
	w.note("shop", n, "test", "", event.Started, 1, event.Step{})
	follow()
	w.rest(n)
	follow()
	for range 3 {
		r := <-results
		if r.err != nil || r.last.State != State(event.Succeeded) {
			t.Errorf("ends %s: %v", states(r.last), r.err)
		}
		if diff := cmp.Diff(told(), r.seen); diff != "" {
			t.Error(diff)
		}
	}
}

// rest is whole without the first observation.
func (w world) rest(n uint64) {
	w.Helper()
	w.note("shop", n, "test", "", event.StepStarted, 1, event.Step{Name: "unit"})
	w.note("shop", n, "test", "", event.StepFinished, 1, event.Step{Name: "unit", Result: event.ResultSuccess, Seconds: 2})
	w.record("shop", n, "test", "", event.Succeeded, "")
	for _, stage := range []string{event.StageBuild, event.StageRelease} {
		w.note("shop", n, stage, "", event.Started, 1, event.Step{})
		w.note("shop", n, stage, "", event.StepStarted, 1, event.Step{Name: "unit"})
		w.note("shop", n, stage, "", event.StepFinished, 1, event.Step{Name: "unit", Result: event.ResultSuccess, Seconds: 2})
		w.record("shop", n, stage, "", event.Succeeded, "")
	}
	for _, env := range []string{"staging", "production"} {
		w.note("shop", n, event.StageDeploy, env, event.Started, 1, event.Step{})
		w.record("shop", n, event.StageDeploy, env, event.Succeeded, "")
	}
}

func TestFollowIsInterrupted(t *testing.T) {
	w := newWorld(t)
	n := w.commit("shop")
	ctx, cancel := context.WithCancel(t.Context())
	d, err := Follow(ctx, w.bus, n, func(Delivery, Change) { cancel() })
	if !errors.Is(err, context.Canceled) || d.Number != n || d.State != Queued {
		t.Errorf("got %s: %v", states(d), err)
	}
}

func TestCallbackOwnsWhatItGets(t *testing.T) {
	w := newWorld(t)
	n := w.commit("shop")
	w.whole("shop", n)
	var first Delivery
	if _, err := Follow(t.Context(), w.bus, n, func(d Delivery, c Change) {
		if c.Kind == StepStarted && first.App == "" {
			first = d
		}
	}); err != nil {
		t.Fatal(err)
	}
	if got := states(first); got != "running: test=running build=pending release=pending deploy=pending" || first.Stages[0].Steps[0].Result != "" {
		t.Errorf("changed behind its back: %s, step %+v", got, first.Stages[0].Steps)
	}
}
