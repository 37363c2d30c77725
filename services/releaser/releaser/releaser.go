// Package releaser turns an artifact into a released image.
//
// It assembles the image, stores it by digest, starts that very image in an
// environment of its own and lets acceptance tests in containers of their own at it.
// Only if all pass does the image get its name and tags: a release that was not
// accepted has no name anywhere.
package releaser

import (
	"context"

	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/image"
	"github.com/millrace-cd/millrace/pkg/service"
	"github.com/millrace-cd/millrace/pkg/snapshot"
	"github.com/millrace-cd/millrace/pkg/stage"
	"github.com/millrace-cd/millrace/pkg/step"
)

// Config is what only the releaser needs.
type Config struct {
	Parallel int    `env:"PARALLEL_STEPS"` // acceptance steps of one delivery at the same time; 0 = as many as the engine has cores
	Scanner  string `env:"SCAN_IMAGE"`     // for files whose scan names no image
}

// Serve releases artifacts until ctx ends.
func Serve(ctx context.Context, k *service.Kit, cfg Config) error {
	r := releaser{kit: k, source: k.Source(), steps: k.Steps(cfg.Parallel), scanner: cfg.Scanner, surveyor: image.NewSurveyor()}
	return stage.Work(ctx, k.Bus, r.run, service.Options[event.Built](k))
}

type releaser struct {
	kit    *service.Kit
	source snapshot.Source
	steps  *step.Runner

	scanner  string // image
	surveyor *image.Surveyor
}

func (r releaser) run(ctx context.Context, j stage.Job[event.Built]) (event.Released, error) {
	out := event.Released{Built: j.Event}
	if err := r.kit.Custody.VerifyBuilt(ctx, j.Event, j.Stored); err != nil {
		return out, err
	}
	_, file, err := r.source.Open(ctx, out.Tested)
	if err != nil {
		return out, err
	}
	release, err := file.Release.Expand(snapshot.Vars(out.Commit))
	if err != nil {
		return out, stage.Fail("%w", err)
	}
	if err := step.Inside(release.Ready); err != nil {
		return out, err
	}
	names, err := r.publication(out.App, file, release)
	if err != nil {
		return out, err
	}
	if found, err := r.adopt(ctx, names, &out); err != nil {
		return out, err
	} else if found {
		return out, r.tag(ctx, names, &out)
	}
	c := candidate{releaser: r, job: j, file: file, release: release, names: names, out: &out}
	defer c.close()
	if err := c.accept(ctx); err != nil {
		return out, err
	}
	if err := step.Failure(out.Acceptance); err != nil {
		return out, stage.Fail("%w", err)
	}
	return out, c.publish(ctx)
}
