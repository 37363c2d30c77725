package delivery

import "github.com/millrace-cd/millrace/pkg/event"

// Tally is what steps came to, counted.
type Tally struct {
	Steps  int
	Reused int         // of the steps: not run, since an earlier delivery had the same inputs
	Flaky  int         // of the steps: failed, and then passed with the same input
	Tests  event.Tests // summed up, without the failures themselves
}

// Tally counts the stage's steps, also those that run.
func (s Stage) Tally() Tally {
	var t Tally
	for _, step := range s.Steps {
		t.add(step)
	}
	return t
}

// Tally counts the steps of all stages.
func (d Delivery) Tally() Tally {
	var t Tally
	for _, s := range d.Stages {
		for _, step := range s.Steps {
			t.add(step)
		}
	}
	return t
}

func (t *Tally) add(s Step) {
	t.Steps++
	if s.Reused != nil {
		t.Reused++
	}
	if s.Flaky {
		t.Flaky++
	}
	if s.Tests != nil {
		t.Tests.Passed += s.Tests.Passed
		t.Tests.Failed += s.Tests.Failed
		t.Tests.Skipped += s.Tests.Skipped
		t.Tests.Quarantined += s.Tests.Quarantined
		t.Tests.Seconds += s.Tests.Seconds
	}
}
