// Package deployer brings released images into environments.
//
// A release goes from one environment of its pipeline file to the next, each on the
// success of the one before. Deployments to an environment run one at a time, and
// never an older one over a newer one: the environment's record, changed only by
// compare-and-set, is the fence. What ran before keeps running until the new
// release has passed its checks.
package deployer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/pipeline"
	"github.com/millrace-cd/millrace/pkg/service"
	"github.com/millrace-cd/millrace/pkg/snapshot"
	"github.com/millrace-cd/millrace/pkg/stage"
)

// Config is empty: what all services share is enough.
type Config struct{}

// Serve deploys releases until ctx ends.
func Serve(ctx context.Context, k *service.Kit, _ Config) error {
	d := deployer{kit: k, source: k.Source()}
	options := service.Options[release](k)
	options.Target = func(r release) (string, bool) { return next(r.Deployed) }
	return stage.Work(ctx, k.Bus, d.run, options)
}

// release is what the deployer consumes: the success of a release, or of its
// deployment to the environment before. Both read as the latter.
type release struct{ event.Deployed }

// Stage is that of the event before a deployment.
func (release) Stage() string { return event.StageRelease }

// next is the environment that a release goes to, if any is left.
func next(d event.Deployed) (string, bool) {
	i := 0
	if d.Environment != "" {
		if i = slices.Index(d.Environments, d.Environment) + 1; i == 0 {
			return "", false // of no such environment: leads nowhere
		}
	}
	if i >= len(d.Environments) || !bus.IsToken(d.Environments[i]) {
		return "", false
	}
	return d.Environments[i], true
}

type deployer struct {
	kit    *service.Kit
	source snapshot.Source
}

// plan is one deployment.
type plan struct {
	number      uint64
	app         string
	environment string
	image       string // public name@sha256:…
	target      pipeline.Target
	checks      []pipeline.Probe
}

func (d deployer) run(ctx context.Context, j stage.Job[release]) (event.Deployed, error) {
	out := event.Deployed{Released: j.Event.Released, Environment: j.Environment}
	if err := d.kit.Custody.VerifyReleased(ctx, out.Released, j.Stored); err != nil {
		return out, err
	}
	p, err := d.plan(ctx, out)
	if err != nil {
		return out, err
	}
	for _, name := range locks(p) {
		lease, held, err := d.kit.Bus.AcquireWhenFree(ctx, name, d.holder(p), func(by string) {
			d.kit.Bus.Note(d.progress(j, "waiting for the lock of "+p.environment+", held by "+by))
		})
		if err != nil {
			return out, fmt.Errorf("lock %s: %w", p.environment, err)
		}
		defer lease.Release(context.WithoutCancel(ctx))
		ctx = held
	}
	return out, d.deploy(ctx, p, &out)
}

// plan reads what the pipeline file says of the environment.
func (d deployer) plan(ctx context.Context, e event.Deployed) (plan, error) {
	_, file, err := d.source.Open(ctx, e.Tested)
	if err != nil {
		return plan{}, err
	}
	i := slices.IndexFunc(file.Deploy, func(t pipeline.Target) bool { return t.Name == e.Environment })
	if i < 0 {
		return plan{}, stage.Refuse("the event names environment %s, which the tested %s does not have", e.Environment, snapshot.FileName)
	}
	vars := snapshot.Vars(e.Commit)
	vars.Image, vars.Digest, vars.Environment = e.Image, digestOf(e.Image), e.Environment
	target, err := file.Deploy[i].Expand(vars)
	if err != nil {
		return plan{}, stage.Fail("%w", err)
	}
	if err := supported(target); err != nil {
		return plan{}, err
	}
	checks, err := checksOf(file, target, vars)
	return plan{number: e.Number, app: e.App, environment: e.Environment, image: e.Image, target: target, checks: checks}, err
}

// checksOf are the environment's own, else when the release counts as up.
func checksOf(file *pipeline.File, target pipeline.Target, vars pipeline.Vars) ([]pipeline.Probe, error) {
	if len(target.Check) == 0 && file.Release.Ready != nil {
		return []pipeline.Probe{*file.Release.Ready}, nil
	}
	var checks []pipeline.Probe
	for _, c := range target.Check {
		expanded, err := c.Expand(vars)
		if err != nil {
			return nil, stage.Fail("%w", err)
		}
		checks = append(checks, expanded)
	}
	return checks, nil
}

// deploy moves the environment's record and what it speaks of, under the lock.
func (d deployer) deploy(ctx context.Context, p plan, out *event.Deployed) error {
	record, err := d.claim(ctx, p)
	if err != nil {
		return err
	}
	out.Previous = before(record, p.number)
	r, err := d.roll(ctx, p, record.Current.Container)
	if err != nil {
		if _, theirs := stage.Outcome(err); theirs {
			record.Phase = bus.PhaseFailed
			_, lost := d.kit.Bus.SetEnvironment(context.WithoutCancel(ctx), record)
			d.warn(lost)
		}
		return err
	}
	out.Container, out.URL = r.app.Name, r.url()
	_, err = d.kit.Bus.SetEnvironment(ctx, record.Replace(bus.Running{
		Number: p.number, Commit: out.Hash, Image: p.image, Container: out.Container, URL: out.URL, Since: time.Now().UTC(),
	}))
	if errors.Is(err, bus.ErrConflict) {
		return err // somebody else has the environment now: what runs is theirs to judge
	}
	if err != nil {
		return errors.Join(err, r.undo(ctx))
	}
	d.warn(d.commit(context.WithoutCancel(ctx), r))
	return nil
}

// before is the image that ran before delivery number; a deployment that is repeated
// finds itself as what runs.
func before(record bus.Environment, number uint64) string {
	switch {
	case record.Current.Number != number:
		return record.Current.Image
	case len(record.History) > 0:
		return record.History[0].Image
	}
	return ""
}

// claim makes this delivery the newest of the environment.
func (d deployer) claim(ctx context.Context, p plan) (bus.Environment, error) {
	record, err := d.kit.Bus.Environment(ctx, p.app, p.environment)
	if err != nil {
		return record, err
	}
	if record.Number > p.number {
		return record, stage.Supersede("delivery %d came first: %s never goes back to an older one by itself", record.Number, p.environment)
	}
	record.Number, record.Phase = p.number, bus.PhaseDeploying
	return d.kit.Bus.SetEnvironment(ctx, record)
}

// locks are the leases that keep deployments apart: the environment's own and, first,
// the one that the file names, which several environments may share.
func locks(p plan) []string {
	own := "deploy." + p.app + "." + p.environment
	if p.target.Lock == "" || p.target.Lock == p.environment {
		return []string{own}
	}
	return []string{"lock." + bus.Token(p.target.Lock), own}
}

func (d deployer) holder(p plan) string {
	return "delivery " + strconv.FormatUint(p.number, 10) + " of " + p.app
}

func (d deployer) progress(j stage.Job[release], reason string) event.Progress {
	return event.Progress{
		App: j.Event.App, Number: j.Event.Number, StageName: event.StageDeploy, Environment: j.Environment,
		What: event.Waiting, Attempt: j.Attempt, Reason: reason, Worker: d.kit.Worker,
	}
}

func (d deployer) warn(err error) {
	if err != nil {
		d.kit.Log.Warn("deploy", "err", err)
	}
}

// supported refuses by name what this version cannot do yet.
func supported(t pipeline.Target) error {
	for what, asked := range map[string]bool{
		"steps": len(t.Drivers) != 1, "approval": t.Approval != nil, "window": len(t.Window) > 0, "soak": t.Soak > 0,
		"watch": t.Watch != nil, "secrets": len(t.Secrets) > 0, "strategy": t.Strategy.Kind != "",
	} {
		if asked {
			return stage.Fail("deploy.%s of environment %s is not supported by this version of millrace", what, t.Name)
		}
	}
	if t.Drivers[0].Kind != pipeline.KindDocker {
		return stage.Fail("driver %s of environment %s is not supported by this version of millrace", t.Drivers[0].Kind, t.Name)
	}
	if docker := t.Drivers[0].Docker; docker.Host != "" || docker.Replicas > 1 {
		return stage.Fail("docker.host and docker.replicas of environment %s are not supported by this version of millrace", t.Name)
	}
	return nil
}
