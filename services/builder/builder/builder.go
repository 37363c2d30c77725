// Package builder turns a tested snapshot into an artifact.
//
// It works from the snapshot's digest alone and never from git: it cannot build
// anything but what was tested. The artifact is packed so that the same files have
// the same digest.
package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/millrace-cd/millrace/pkg/archive"
	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/pipeline"
	"github.com/millrace-cd/millrace/pkg/service"
	"github.com/millrace-cd/millrace/pkg/snapshot"
	"github.com/millrace-cd/millrace/pkg/stage"
	"github.com/millrace-cd/millrace/pkg/step"
	"github.com/millrace-cd/millrace/pkg/store"
	"github.com/millrace-cd/millrace/pkg/workspace"
)

// Config is empty: what all services share is enough.
type Config struct{}

// Serve builds tested snapshots until ctx ends.
func Serve(ctx context.Context, k *service.Kit, _ Config) error {
	b := builder{kit: k, source: k.Source(), steps: k.Steps(1)}
	return stage.Work(ctx, k.Bus, b.run, service.Options[event.Tested](k))
}

type builder struct {
	kit    *service.Kit
	source snapshot.Source
	steps  *step.Runner
}

func (b builder) run(ctx context.Context, j stage.Job[event.Tested]) (event.Built, error) {
	out := event.Built{Tested: j.Event}
	_, file, err := b.source.Open(ctx, j.Event)
	if err != nil {
		return out, err
	}
	if len(file.Build.Platforms) > 0 || file.Build.Reproducible {
		return out, stage.Fail("build.platforms and build.reproducible are not supported by this version of millrace")
	}
	images, err := b.kit.Resolve(ctx, out.Images, file.Build.Image)
	if err != nil {
		return out, err
	}
	out.Build, err = b.build(ctx, j, &out, file.Build, images)
	if err != nil {
		return out, err
	}
	if err := step.Failure(out.Build); err != nil {
		return out, stage.Fail("%w", err)
	}
	return out, nil
}

// build runs the build and stores its artifact while its workspace is there.
func (b builder) build(ctx context.Context, j stage.Job[event.Tested], out *event.Built, build *pipeline.Build, images map[string]container.Image) ([]event.Step, error) {
	owner := container.Owner{App: out.App, Delivery: out.Number, Stage: event.StageBuild, Attempt: j.Attempt}
	session, err := b.kit.Engine.Open(ctx, owner, container.SessionOptions{})
	if err != nil {
		return nil, err
	}
	defer session.Close(ctx)
	expanded, err := build.Expand(snapshot.Vars(out.Commit))
	if err != nil {
		return nil, stage.Fail("%w", err)
	}
	core := build.Step
	core.Name = "build"
	var ours error
	results, err := b.steps.Run(ctx, step.Group{
		Owner: owner, Session: session, Path: out.Path, Images: images, Vars: snapshot.Vars(out.Commit), Steps: []pipeline.Step{core},
		Trees: func(ctx context.Context, shared bool) (*workspace.Tree, error) {
			return b.source.Tree(ctx, "snapshot", out.Snapshot, shared)
		},
		Done: func(_ string, v *workspace.View) error {
			var theirs error
			out.Artifact, theirs, ours = b.store(ctx, out.App, v, expanded.Artifacts)
			return theirs
		},
	})
	return results, errors.Join(err, ours)
}

// store packs the files that the globs match. The first error is the commit's
// fault, the second ours.
func (b builder) store(ctx context.Context, app string, v *workspace.View, globs []string) (blob event.Blob, theirs, ours error) {
	ctx, span := b.kit.Tracer.Start(ctx, "store artifact")
	defer span.End()
	entries, err := v.Files(globs, archive.Artifact())
	if errors.Is(err, archive.ErrRefused) {
		return blob, fmt.Errorf("artifacts: %w", err), nil
	}
	if err != nil {
		return blob, nil, err
	}
	var files []archive.File
	tar, err := archive.Spool(b.kit.TempDir(), func(w io.Writer) (archive.Stats, error) {
		files, err = archive.Pack(w, entries, archive.Artifact())
		return archive.Count(files), err
	})
	if errors.Is(err, archive.ErrRefused) {
		return blob, err, nil
	}
	if err != nil {
		return blob, nil, fmt.Errorf("pack artifact: %w", err)
	}
	defer func() { _ = tar.Remove() }()
	list, err := json.Marshal(files)
	if err != nil {
		return blob, nil, fmt.Errorf("list artifact: %w", err)
	}
	blob, err = b.kit.Store.Put(ctx, store.Upload{App: app, Kind: store.Artifact, Tar: tar, Config: list})
	return blob, nil, err
}
