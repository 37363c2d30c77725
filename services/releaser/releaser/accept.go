package releaser

import (
	"context"
	"errors"

	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/pipeline"
	"github.com/millrace-cd/millrace/pkg/service"
	"github.com/millrace-cd/millrace/pkg/snapshot"
	"github.com/millrace-cd/millrace/pkg/stage"
	"github.com/millrace-cd/millrace/pkg/step"
	"github.com/millrace-cd/millrace/pkg/workspace"
)

// host is the release's name on the network of its environment.
const host = "app"

// accept starts the image by its digest and runs the acceptance tests against it.
func (r releaser) accept(ctx context.Context, j stage.Job[event.Built], internal string, file *pipeline.File) ([]event.Step, error) {
	owner := container.Owner{App: j.Event.App, Delivery: j.Event.Number, Stage: event.StageRelease, Attempt: j.Attempt}
	session, err := r.kit.Engine.Open(ctx, owner, container.SessionOptions{Network: container.Private})
	if err != nil {
		return nil, err
	}
	defer session.Close(ctx)
	steps := acceptance(file)
	images, err := r.kit.Resolve(ctx, j.Event.Images, imagesOf(steps, snapshot.Vars(j.Event.Commit))...)
	if err != nil {
		return nil, err
	}
	if err := r.start(ctx, session, j.Attempt, internal, file.Release); err != nil {
		return nil, err
	}
	return r.steps.Run(ctx, step.Group{
		Owner: owner, Session: session, Path: j.Event.Path, Images: images, Vars: snapshot.Vars(j.Event.Commit),
		Steps: steps, FailFast: file.Defaults.FailFast,
		Trees: func(ctx context.Context, shared bool) (*workspace.Tree, error) {
			return r.source.Tree(ctx, "snapshot", j.Event.Snapshot, shared)
		},
	})
}

// start runs the release and waits until it is ready. That it does not get ready is
// the commit's fault.
func (r releaser) start(ctx context.Context, session *container.Session, attempt int, internal string, release *pipeline.Release) error {
	ctx, span := r.kit.Tracer.Start(ctx, "start release")
	defer span.End()
	image, err := r.kit.Engine.Resolve(ctx, internal, container.PullMissing)
	if err != nil {
		return err
	}
	_, err = session.Service(ctx, container.Service{
		Name: host, Attempt: attempt, Image: image.Pinned, Env: release.Environment.Env,
		Limits: service.Limits(release.Environment.Resources), Ready: service.Probe(release.Ready),
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

// imagesOf lists what the steps run in, with their matrices unfolded.
func imagesOf(steps []pipeline.Step, vars pipeline.Vars) (refs []string) {
	for _, s := range steps {
		for _, v := range s.Variants() {
			vars.Matrix = v.Matrix
			if expanded, err := s.Expand(vars); err == nil { // else the plan will say so
				refs = append(refs, expanded.Image)
			}
		}
	}
	return refs
}
