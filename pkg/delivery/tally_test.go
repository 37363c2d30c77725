package delivery

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/event"
)

func TestTally(t *testing.T) {
	step := func(s event.Step) Step { return Step{Step: s} }
	d := Delivery{Stages: []Stage{
		{Steps: []Step{
			step(event.Step{Tests: &event.Tests{Passed: 3, Failed: 1, Seconds: 0.5, Failures: []event.Case{{Name: "x"}}}}),
			step(event.Step{Tests: &event.Tests{Passed: 4, Skipped: 2, Quarantined: 1, Seconds: 0.25}, Flaky: true, Tries: 2}),
			step(event.Step{Reused: &event.Verdict{Number: 1}}),
		}},
		{},
		{Steps: []Step{step(event.Step{Tests: &event.Tests{Passed: 1}})}},
	}}
	tests := event.Tests{Passed: 7, Failed: 1, Skipped: 2, Quarantined: 1, Seconds: 0.75}
	if diff := cmp.Diff(Tally{Steps: 3, Reused: 1, Flaky: 1, Tests: tests}, d.Stages[0].Tally()); diff != "" {
		t.Error(diff)
	}
	tests.Passed++
	if diff := cmp.Diff(Tally{Steps: 4, Reused: 1, Flaky: 1, Tests: tests}, d.Tally()); diff != "" {
		t.Error(diff)
	}
}

// TestStepsTold keeps all that a step came to, from observations and from facts; one
// that begins anew came to nothing yet.
func TestStepsTold(t *testing.T) {
	w := newWorld(t)
	n := w.commit("shop")
	unit := event.Step{
		Name: "unit", Result: event.ResultSuccess, Seconds: 2, Tries: 2, Flaky: true, Reused: &event.Verdict{Number: 7, Commit: hash},
		Tests:    &event.Tests{Passed: 1, Failures: []event.Case{{Name: "x", Quarantined: true}}},
		Coverage: &event.Coverage{Percent: 83.4, Wanted: 70}, Reports: &event.Blob{Digest: "sha256:1"},
	}
	told := func() event.Step { return w.load(n).Stages[0].Steps[0].Step }
	w.note("shop", n, "test", "", event.StepStarted, 1, event.Step{Name: "unit"})
	w.note("shop", n, "test", "", event.StepFinished, 1, unit)
	if diff := cmp.Diff(unit, told()); diff != "" {
		t.Error(diff)
	}
	w.note("shop", n, "test", "", event.StepStarted, 1, event.Step{Name: "unit"})
	if diff := cmp.Diff(event.Step{Name: "unit"}, told()); diff != "" {
		t.Error(diff)
	}
	built := event.Built{Tested: event.Tested{Commit: event.Commit{App: "shop", Number: n, Hash: hash}, Tests: []event.Step{unit}}}
	tested := built.Tested
	built.Artifact = event.Blob{Digest: "sha256:2"}
	built.Platforms = map[string]event.Blob{"linux/amd64": built.Artifact, "linux/arm64": {Digest: "sha256:3"}}
	for _, e := range []event.Event{tested, built} {
		r := event.Result{StageName: e.Stage(), Outcome: event.Succeeded, Attempt: 1}
		if _, _, err := w.bus.Record(t.Context(), bus.Key{Stage: e.Stage(), App: "shop", Number: n}, e, r, nil); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(unit, told()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(built.Platforms, w.load(n).Platforms); diff != "" {
		t.Error(diff)
	}
}
