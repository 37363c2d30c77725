package delivery

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/telemetry"
)

// begin is the delivery of a commit event that nobody has looked at yet.
func begin(e bus.Entry) *Delivery {
	d := &Delivery{
		Number: e.Address.Number, App: e.Address.App, State: Pending,
		Commit: commit(e), Accepted: e.Stored.UTC(),
	}
	for _, name := range []string{event.StageTest, event.StageBuild, event.StageRelease, event.StageDeploy} {
		d.Stages = append(d.Stages, Stage{Name: name, State: Pending})
	}
	header := bus.Carrier(e.Header)
	caller := telemetry.Parse(header.Get(bus.HeaderHop), header.Get(bus.HeaderState))
	d.TraceID = telemetry.Root(d.identity(), caller).TraceID().String()
	d.derive()
	return d
}

// commit reads a commit event as far as it can be read: a delivery of a broken event
// is refused, and still one to be shown.
func commit(e bus.Entry) event.Commit {
	var c event.Commit
	_ = json.Unmarshal(e.Data, &c)
	c.App, c.Number, c.Accepted = e.Address.App, e.Address.Number, e.Stored.UTC()
	return c
}

// identity is the commit as the services make ids of it: they use nothing of an event
// that they refuse.
func (d *Delivery) identity() event.Commit {
	if d.Commit.Check() == nil {
		return d.Commit
	}
	c := event.Commit{App: d.App, Number: d.Number, Accepted: d.Accepted}
	if !bus.IsToken(c.App) {
		c.App = bus.InvalidApp
	}
	return c
}

// fact adds how a stage ended.
func (d *Delivery) fact(e bus.Entry) (Change, bool) {
	f, err := event.Decode(e.Data)
	if err != nil {
		return Change{}, false
	}
	d.learn(f)
	s := d.stage(e.Address)
	if s == nil || s.settled() { // nil: of a later version of ours
		return Change{}, false
	}
	s.State, s.Reason, s.Waiting, s.Attempt, s.Worker = State(f.Outcome), f.Reason, "", f.Attempt, f.Worker
	s.Queued, s.Started, s.Finished = f.Queued, f.Started, f.Finished
	for _, step := range results(f) {
		s.finish(step, time.Time{})
	}
	if f.StageName == event.StageDeploy {
		s.Image, s.Previous, s.URL = f.Image, f.Previous, f.URL
	}
	if f.Ends() {
		d.State, d.Reason, d.Finished = s.State, f.Reason, f.Finished
	}
	d.derive()
	return Change{Kind: StageEnded, Time: f.Finished, Stage: *s}, true
}

// learn takes over what a fact knows of the whole delivery.
func (d *Delivery) learn(f event.Fact) {
	if f.Hash != "" && f.Number == d.Number {
		d.Commit = f.Commit
	}
	set(&d.Tree, f.Tree)
	set(&d.Image, f.Image)
	if f.Snapshot.Digest != "" {
		d.Snapshot = f.Snapshot
	}
	if f.Artifact.Digest != "" {
		d.Artifact, d.Platforms = f.Artifact, f.Platforms
	}
	set(&d.Statement, f.ReleaseStatement)
	if len(f.SBOMs) > 0 {
		d.SBOMs = f.SBOMs
	}
	if len(f.Vulnerabilities) > 0 {
		d.Vulnerable = f.Vulnerabilities
	}
	if len(f.Tags) > 0 {
		d.Tags = f.Tags
	}
	if f.StageName == event.StageTest && f.Outcome == event.Succeeded || len(f.Environments) > 0 {
		d.goTo(f.Environments)
	}
}

func set(to *string, value string) {
	if value != "" {
		*to = value
	}
}

// goTo makes one stage of each environment, in place of the one that stood for all.
func (d *Delivery) goTo(environments []string) {
	if d.Environments != nil {
		return
	}
	d.Environments = slices.Clone(environments)
	d.Stages = slices.DeleteFunc(d.Stages, func(s Stage) bool { return s.Name == event.StageDeploy && s.Environment == "" })
	for _, env := range environments {
		if d.stage(bus.Address{Stage: event.StageDeploy, Environment: env}) == nil {
			d.Stages = append(d.Stages, Stage{Name: event.StageDeploy, Environment: env, State: Pending})
		}
	}
}

// stage is the one that a subject tells of. A deployment that could not even say its
// environment is the first that has not ended.
func (d *Delivery) stage(a bus.Address) *Stage {
	for i := range d.Stages {
		s := &d.Stages[i]
		if s.Name != a.Stage {
			continue
		}
		if s.Environment == a.Environment || s.Environment == "" || a.Environment == bus.InvalidApp && !s.State.Ended() {
			return s
		}
	}
	return nil
}

// due tells whether the stages before the one of p are over. What p tells of a later
// one is known before what ended the earlier one only because two readers bring them.
func (d *Delivery) due(p event.Progress) bool {
	s := d.stage(bus.Address{Stage: p.StageName, Environment: p.Environment})
	for i := range d.Stages {
		if &d.Stages[i] == s {
			return true
		}
		if !d.Stages[i].State.Ended() {
			return false
		}
	}
	return true
}

// results are the steps of a fact's own stage.
func results(f event.Fact) []event.Step {
	switch f.StageName {
	case event.StageTest:
		return f.Tests
	case event.StageBuild:
		return f.Build
	case event.StageRelease:
		return f.Acceptance
	}
	return nil
}

// settled tells whether a fact says how the stage ended.
func (s *Stage) settled() bool { return s.State.Ended() && s.State != Skipped }

// derive says of each stage that no message decides what follows from the others.
func (d *Delivery) derive() {
	ended := d.State.Ended()
	before := d.Accepted // when the stage before succeeded; zero if it did not
	for i := range d.Stages {
		s := &d.Stages[i]
		switch {
		case s.settled():
		case ended:
			s.State = Skipped
		case s.State == Running || s.State == Waiting || s.State == Retrying:
		case !before.IsZero():
			s.State, s.Queued = Queued, before
		default:
			s.State = Pending
		}
		before = time.Time{}
		if s.State.Good() {
			before = s.Finished
		}
	}
	if !ended {
		d.State = d.current()
	}
}

// current is the state of the stage that the delivery is in.
func (d *Delivery) current() State {
	for _, s := range d.Stages {
		if !s.State.Ended() && s.State != Pending {
			return s.State
		}
	}
	return Pending
}
