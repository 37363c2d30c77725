// Package delivery says what a delivery is, from the streams alone.
//
// [Load], [List] and [Follow] fold a commit event, the facts and the observations
// that belong to it into a [Delivery]. There is no other record: whoever reads the
// same streams sees the same delivery. Facts decide; observations only tell what
// happens meanwhile, so that a delivery whose observations are lost still ends as
// it ended.
//
// [Trace] and [Logs] read the other two things that a delivery leaves behind, and
// [Clean] makes what its programs printed safe for a terminal.
package delivery

import (
	"slices"
	"time"

	"github.com/millrace-cd/millrace/pkg/event"
)

// State is where a delivery or one of its stages is. Besides those below, each
// [event.Outcome] is a state: the last one.
type State string

// The states of what has not ended, and Skipped, of a stage that will never run.
const (
	Pending  State = "pending"  // its turn has not come
	Queued   State = "queued"   // its event waits for a worker
	Running  State = "running"  // a worker is on it
	Waiting  State = "waiting"  // it waits for something, the stage says what
	Retrying State = "retrying" // an attempt ended by a fault of ours; the next will come
	Skipped  State = "skipped"  // the delivery ended before
)

// Ended tells whether nothing follows.
func (s State) Ended() bool {
	switch s {
	case "", Pending, Queued, Running, Waiting, Retrying:
		return false
	}
	return true
}

// Good tells whether s is the end that one hopes for.
func (s State) Good() bool { return s == State(event.Succeeded) }

// Delivery is one trip of one commit of one app, as far as it is known.
type Delivery struct {
	Number   uint64       `json:"number"`
	App      string       `json:"app"`
	State    State        `json:"state"`
	Reason   string       `json:"reason,omitempty"` // why it did not succeed
	Commit   event.Commit `json:"commit"`
	Accepted time.Time    `json:"accepted"`          // when the commit event was stored
	Finished time.Time    `json:"finished,omitzero"` // when the last stage ended
	TraceID  string       `json:"traceId"`

	Tree         string                `json:"tree,omitempty"` // git's id of the tested tree
	Snapshot     event.Blob            `json:"snapshot,omitzero"`
	Artifact     event.Blob            `json:"artifact,omitzero"`
	Platforms    map[string]event.Blob `json:"platforms,omitempty"` // artifacts by platform; Artifact is one of them
	Image        string                `json:"image,omitempty"`     // public name@sha256:…
	Tags         []string              `json:"tags,omitempty"`
	SBOMs        map[string]string     `json:"sboms,omitempty"`           // of the image, by platform: digests
	Vulnerable   map[string]int        `json:"vulnerabilities,omitempty"` // by severity, as a scanner says
	Statement    string                `json:"statement,omitempty"`       // of the release: digest of its bundle
	Environments []string              `json:"environments,omitempty"`    // that it goes to, in order; known after test

	Stages []Stage `json:"stages"` // in order, also those to come
}

// Stage is one stage of a delivery; a deployment is one for each environment.
type Stage struct {
	Name        string    `json:"stage"`
	Environment string    `json:"environment,omitempty"`
	State       State     `json:"state"`
	Reason      string    `json:"reason,omitempty"`  // of its outcome, or of the last attempt's end
	Waiting     string    `json:"waiting,omitempty"` // what it waits for
	Attempt     int       `json:"attempt,omitempty"` // counts from 1
	Worker      string    `json:"worker,omitempty"`
	Queued      time.Time `json:"queued,omitzero"`  // when its event was stored
	Started     time.Time `json:"started,omitzero"` // the last attempt
	Finished    time.Time `json:"finished,omitzero"`
	Steps       []Step    `json:"steps,omitempty"` // in the order they began

	Image    string `json:"image,omitempty"`    // that a deployment put there
	Previous string `json:"previous,omitempty"` // that ran there before
	URL      string `json:"url,omitempty"`
}

// Step is a container run. One without Result is running.
type Step struct {
	event.Step
	Started  time.Time `json:"started,omitzero"` // zero where the observation is lost
	Finished time.Time `json:"finished,omitzero"`
}

// Title is the stage's name for people: "test", "deploy production".
func (s Stage) Title() string {
	if s.Environment == "" {
		return s.Name
	}
	return s.Name + " " + s.Environment
}

// Wait is how long the stage's event waited for a worker; 0 if that is not known.
func (s Stage) Wait() time.Duration {
	if s.Started.IsZero() || s.Queued.IsZero() || s.Started.Before(s.Queued) {
		return 0
	}
	return s.Started.Sub(s.Queued)
}

// Elapsed is how long the stage has run at the time now; 0 before it began.
func (s Stage) Elapsed(now time.Time) time.Duration { return elapsed(s.Started, s.Finished, now) }

// Elapsed is how long the step has run at the time now.
func (s Step) Elapsed(now time.Time) time.Duration {
	if s.Seconds > 0 {
		return time.Duration(s.Seconds * float64(time.Second))
	}
	return elapsed(s.Started, s.Finished, now)
}

// Elapsed is how long the delivery has taken at the time now.
func (d Delivery) Elapsed(now time.Time) time.Duration { return elapsed(d.Accepted, d.Finished, now) }

func elapsed(from, to, now time.Time) time.Duration {
	if from.IsZero() {
		return 0
	}
	if to.IsZero() {
		to = now
	}
	return max(0, to.Sub(from))
}

// URL is where the app answers; of the last environment that has one.
func (d Delivery) URL() string {
	for _, s := range slices.Backward(d.Stages) {
		if s.URL != "" {
			return s.URL
		}
	}
	return ""
}

// Culprit is the stage that ended the delivery badly, if one did.
func (d Delivery) Culprit() (Stage, bool) {
	for _, s := range d.Stages {
		if s.State.Ended() && !s.State.Good() && s.State != Skipped {
			return s, true
		}
	}
	return Stage{}, false
}

// Failed are the steps that made the stage fail.
func (s Stage) Failed() []Step {
	var failed []Step
	for _, step := range s.Steps {
		if !step.Optional && (step.Result == event.ResultFailure || step.Result == event.ResultError) {
			failed = append(failed, step)
		}
	}
	return failed
}

// clone shares nothing that a later fold changes.
func (d Delivery) clone() Delivery {
	d.Stages = slices.Clone(d.Stages)
	for i := range d.Stages {
		d.Stages[i].Steps = slices.Clone(d.Stages[i].Steps)
	}
	return d
}
