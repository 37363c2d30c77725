package releaser

import (
	"context"
	"errors"

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

// accept assembles the image, starts it by its digest and runs the acceptance tests
// against it. It returns the image's name, which nobody else knows. The environment is
// made while the image is, and the tests' containers while the image starts.
func (r releaser) accept(ctx context.Context, j stage.Job[event.Built], file *pipeline.File, release pipeline.Release, out *event.Released) (internal string, err error) {
	owner := container.Owner{App: out.App, Delivery: out.Number, Stage: event.StageRelease, Attempt: j.Attempt}
	var session *container.Session
	var images map[string]container.Image
	steps, vars := acceptance(file), snapshot.Vars(out.Commit)
	all, inner := errgroup.WithContext(ctx)
	all.Go(func() (err error) {
		internal, err = r.assemble(inner, out.Built, release)
		return err
	})
	all.Go(func() (err error) {
		images, err = r.kit.Resolve(inner, out.Images, imagesOf(steps, vars)...)
		return err
	})
	all.Go(func() (err error) {
		ctx, span := r.kit.Tracer.Start(ctx, "make environment")
		defer span.End()
		session, err = r.kit.Engine.Open(ctx, owner, container.SessionOptions{Network: container.Private, Services: hosts(steps)})
		return err
	})
	err = all.Wait()
	if session != nil {
		defer session.Close(ctx)
	}
	if err != nil {
		return internal, err
	}
	out.Acceptance, err = r.steps.Run(ctx, step.Group{
		Owner: owner, Commit: out.Commit, Session: session, Images: images, Vars: vars,
		Steps: steps, FailFast: file.Defaults.FailFast, Tree: out.Snapshot.Digest, OneNetwork: true,
		Begin: func(ctx context.Context) error { return r.start(ctx, session, j.Attempt, internal, file.Release) },
		Trees: func(ctx context.Context, shared bool) (*workspace.Tree, error) {
			return r.source.Tree(ctx, "snapshot", out.Snapshot, shared)
		},
	})
	return internal, err
}

// start runs the release and waits until it is ready. That it does not get ready is
// the commit's fault.
func (r releaser) start(ctx context.Context, session *container.Session, attempt int, internal string, release *pipeline.Release) error {
	ctx, span := r.kit.Tracer.Start(ctx, "start release")
	defer span.End()
	pulling, pull := r.kit.Tracer.Start(ctx, "pull image")
	image, err := r.kit.Engine.Resolve(pulling, internal, container.PullMissing)
	pull.End()
	if err != nil {
		return err
	}
	_, err = session.Service(ctx, container.Service{
		Name: service.ReleaseHost, Attempt: attempt, Image: image.Pinned, Env: release.Environment.Env,
		Limits: step.Limits(release.Environment.Resources), Ready: step.Probe(release.Ready),
	})
	if unready := new(container.NotReady); errors.As(err, &unready) {
		return stage.Fail("the release does not get ready: %w", err)
	}
	return err
}

func acceptance(file *pipeline.File) []pipeline.Step {
	steps := make([]pipeline.Step, 0, len(file.Release.Acceptance))
	for _, name := range file.Release.AcceptanceOrder {
		steps = append(steps, *file.Release.Acceptance[name])
	}
	return steps
}

// hosts are the names that resolve in the release's environment.
func hosts(steps []pipeline.Step) []string {
	names := []string{service.ReleaseHost}
	for _, s := range steps {
		names = append(names, s.ServiceOrder...)
	}
	return names
}

// imagesOf lists what the steps run in, with their matrices unfolded.
func imagesOf(steps []pipeline.Step, vars pipeline.Vars) (refs []string) {
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
