package releaser

import (
	"context"

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

// accept assembles the image, starts it by its digest in an environment of its own and
// runs the acceptance tests against it. It returns the image's name, which nobody else
// knows. What does not depend on each other happens at the same time: the environment
// and its services are made while the image is, and the tests' containers while the
// image starts.
func (r releaser) accept(ctx context.Context, j stage.Job[event.Built], file *pipeline.File, release pipeline.Release, names publication, out *event.Released) (internal string, err error) {
	e := &environment{releaser: r, release: release, group: step.Group{
		Owner:  container.Owner{App: out.App, Delivery: out.Number, Stage: event.StageRelease, Attempt: j.Attempt},
		Commit: out.Commit, Vars: snapshot.Vars(out.Commit), OneNetwork: true,
	}}
	defer e.close(ctx)
	steps := acceptance(file)
	all, inner := errgroup.WithContext(ctx)
	all.Go(func() (err error) {
		internal, err = r.assemble(inner, out.Built, release)
		return err
	})
	all.Go(func() error { return e.open(inner, out.Images, steps) })
	if err := all.Wait(); err != nil {
		return internal, err
	}
	if err := r.free(ctx, names, internal); err != nil {
		return internal, err
	}
	tests := e.group
	tests.Steps, tests.FailFast, tests.Tree = steps, file.Defaults.FailFast, out.Snapshot.Digest
	tests.Trees = func(ctx context.Context, shared bool) (*workspace.Tree, error) {
		return r.source.Tree(ctx, "snapshot", out.Snapshot, shared)
	}
	tests.Begin = func(ctx context.Context) error { return e.start(ctx, internal) }
	results, err := r.steps.Run(ctx, tests)
	out.Acceptance = append(e.before, results...)
	return internal, err
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
