package releaser

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/pipeline"
	"github.com/millrace-cd/millrace/pkg/service"
	"github.com/millrace-cd/millrace/pkg/snapshot"
	"github.com/millrace-cd/millrace/pkg/stage"
	"github.com/millrace-cd/millrace/pkg/step"
	"github.com/millrace-cd/millrace/pkg/workspace"
)

// candidate is what may become a release.
type candidate struct {
	releaser

	job     stage.Job[event.Built]
	file    *pipeline.File
	release pipeline.Release // with its variables filled in
	names   publication
	out     *event.Released

	image *assembled
	bills []bill
}

// close frees what the image takes up here.
func (c *candidate) close() {
	if c.image != nil {
		c.image.close()
	}
}

// ownerOf is whose all is that runs for a release.
func ownerOf(j stage.Job[event.Built]) container.Owner {
	return container.Owner{App: j.Event.App, Delivery: j.Event.Number, Stage: event.StageRelease, Attempt: j.Attempt}
}

// accept assembles the image, starts it by its digest in an environment of its own and
// lets the acceptance tests, and a scanner, at it. Nobody else knows the image's name.
// What does not depend on each other happens at the same time: the environment and its
// services are made while the image is, and the tests' containers while the image starts.
func (c *candidate) accept(ctx context.Context) error {
	e := &environment{releaser: c.releaser, release: c.release, group: step.Group{
		Owner: ownerOf(c.job), Commit: c.out.Commit, Vars: snapshot.Vars(c.out.Commit), OneNetwork: true,
	}}
	defer e.close(ctx)
	steps := acceptance(c.file)
	all, inner := errgroup.WithContext(ctx)
	all.Go(func() (err error) {
		c.image, err = c.assemble(inner, c.job, c.release)
		return err
	})
	all.Go(func() error { return e.open(inner, c.out.Images, steps) })
	err := all.Wait()
	if c.image != nil {
		c.out.Acceptance = setUp(c.image.steps)
	}
	if err != nil {
		return err
	}
	if err := c.free(ctx); err != nil {
		return err
	}
	return c.judge(ctx, e, steps)
}

// judge runs the acceptance tests while the image's bills of materials are written and
// scanned.
func (c *candidate) judge(ctx context.Context, e *environment, steps []pipeline.Step) error {
	var results, scanned []event.Step
	all, inner := errgroup.WithContext(ctx)
	all.Go(func() (err error) {
		results, err = c.steps.Run(inner, c.tests(e, steps))
		return err
	})
	all.Go(func() (err error) {
		if c.bills, err = c.bill(inner); err != nil {
			return err
		}
		scanned, err = c.scan(inner, e.group)
		return err
	})
	err := all.Wait()
	c.out.Acceptance = slices.Concat(c.out.Acceptance, setUp(e.before), results, scanned)
	return err
}

// setUp marks steps that are no tests.
func setUp(steps []event.Step) []event.Step {
	for i := range steps {
		steps[i].SetUp = true
	}
	return steps
}

// tests are the acceptance tests, which begin when the release runs.
func (c *candidate) tests(e *environment, steps []pipeline.Step) step.Group {
	g := e.group
	g.Steps, g.FailFast, g.Tree = steps, c.file.Defaults.FailFast, c.out.Snapshot.Digest
	g.Trees = func(ctx context.Context, shared bool) (*workspace.Tree, error) {
		return c.source.Tree(ctx, "snapshot", c.out.Snapshot, shared)
	}
	g.Begin = func(ctx context.Context) error { return e.start(ctx, c.image.run) }
	return g
}

func acceptance(file *pipeline.File) []pipeline.Step {
	steps := make([]pipeline.Step, 0, len(file.Release.Acceptance))
	for _, name := range file.Release.AcceptanceOrder {
		steps = append(steps, *file.Release.Acceptance[name])
	}
	return steps
}

// hosts are the names that resolve in the release's environment.
func hosts(release pipeline.Release, steps []pipeline.Step) []string {
	names := append([]string{service.ReleaseHost}, release.Environment.ServiceOrder...)
	for _, s := range steps {
		names = append(names, s.ServiceOrder...)
	}
	return names
}

// imagesOf lists what the environment and the steps run in, with matrices unfolded.
func imagesOf(release pipeline.Release, steps []pipeline.Step, vars pipeline.Vars) (refs []string) {
	for _, s := range release.Environment.Services {
		refs = append(refs, s.Image)
	}
	for _, s := range steps {
		for _, v := range s.Variants() {
			vars.Matrix = v.Matrix
			if expanded, err := s.Expand(vars); err == nil { // else the plan will say so
				refs = append(refs, expanded.Image)
				for _, svc := range expanded.Services {
					refs = append(refs, svc.Image)
				}
			}
		}
	}
	return refs
}
