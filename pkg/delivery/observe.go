package delivery

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/event"
)

// ChangeKind is what happened to a delivery.
type ChangeKind string

// The kinds of a [Change].
const (
	Accepted      ChangeKind = "accepted" // the commit event is stored
	StageStarted  ChangeKind = "stage-started"
	StageWaiting  ChangeKind = "stage-waiting"
	StageRetrying ChangeKind = "stage-retrying"
	StepStarted   ChangeKind = "step-started"
	StepFinished  ChangeKind = "step-finished"
	StageEnded    ChangeKind = "stage-ended"
)

// Change is one thing that happened to a delivery.
type Change struct {
	Kind  ChangeKind `json:"change"`
	Time  time.Time  `json:"time"`
	Stage Stage      `json:"stage,omitzero"` // as it is after the change; zero for Accepted
	Step  Step       `json:"step,omitzero"`  // of StepStarted and StepFinished
}

// observations are the subjects that [Delivery.observe] understands; spans, which are
// many, are not among them.
func observations(number string) []string {
	var subjects []string
	for _, what := range []string{event.Started, event.Waiting, event.Retrying, event.StepStarted, event.StepFinished} {
		subjects = append(subjects, "progress.*."+what+".*."+number)
	}
	return subjects
}

// progress reads an observation; what cannot be read is none of ours.
func progress(e bus.Entry) event.Progress {
	var p event.Progress
	_ = json.Unmarshal(e.Data, &p)
	return p
}

// observe adds an observation. One that comes after its stage's fact only fills in
// what the fact does not know: when steps ran.
func (d *Delivery) observe(p event.Progress) (Change, bool) {
	s := d.stage(bus.Address{Stage: p.StageName, Environment: p.Environment})
	if s == nil || p.Attempt < s.Attempt {
		return Change{}, false // of an attempt that is history
	}
	c := Change{Kind: kinds[p.What], Time: p.Time}
	var step *Step
	switch {
	case p.What == event.StepStarted:
		step = s.begin(p.Step.Name, p.Time)
	case p.What == event.StepFinished:
		step = s.finish(p.Step, p.Time)
	case s.settled():
		return Change{}, false
	}
	if !s.settled() {
		s.move(p)
	}
	d.derive()
	if c.Stage = *s; step != nil {
		c.Step = *step
	}
	return c, c.Kind != ""
}

//nolint:gochecknoglobals // a constant, which Go has none of for maps
var kinds = map[string]ChangeKind{
	event.Started: StageStarted, event.Waiting: StageWaiting, event.Retrying: StageRetrying,
	event.StepStarted: StepStarted, event.StepFinished: StepFinished,
}

// move takes a stage that has not ended to where p says it is.
func (s *Stage) move(p event.Progress) {
	if p.Attempt > s.Attempt {
		s.Attempt, s.Started, s.Reason = p.Attempt, p.Time, ""
		if p.What != event.StepStarted && p.What != event.StepFinished {
			s.Steps = nil // each attempt begins anew
		}
	}
	s.Waiting = ""
	if p.Worker != "" {
		s.Worker = p.Worker
	}
	switch p.What {
	case event.Waiting:
		s.State, s.Waiting = Waiting, p.Reason
	case event.Retrying:
		s.State, s.Reason = Retrying, p.Reason
	default:
		s.State = Running
	}
}

// begin notes that a step runs, perhaps once more.
func (s *Stage) begin(name string, at time.Time) *Step {
	step := s.step(name)
	step.Started = at
	if !s.settled() {
		step.Step, step.Finished = event.Step{Name: name}, time.Time{}
	}
	return step
}

// finish notes how a step ended. What is known already is not told twice.
func (s *Stage) finish(result event.Step, at time.Time) *Step {
	step := s.step(result.Name)
	if step.Result == "" || !s.settled() {
		step.Step = result
	}
	if !at.IsZero() {
		step.Finished = at
	}
	if step.Started.IsZero() && !step.Finished.IsZero() {
		step.Started = step.Finished.Add(-time.Duration(step.Seconds * float64(time.Second)))
	}
	return step
}

// step finds or adds the step of that name.
func (s *Stage) step(name string) *Step {
	i := slices.IndexFunc(s.Steps, func(step Step) bool { return step.Name == name })
	if i < 0 {
		i = len(s.Steps)
		s.Steps = append(s.Steps, Step{Step: event.Step{Name: name}})
	}
	return &s.Steps[i]
}
