// Package builder turns a tested snapshot into artifacts, one for each platform.
//
// It works from the snapshot's digest alone and never from git: it cannot build
// anything but what was tested. An artifact is packed so that the same files have the
// same digest.
package builder

import (
	"context"
	"errors"
	"maps"
	"strings"

	"github.com/millrace-cd/millrace/pkg/archive"
	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/pipeline"
	"github.com/millrace-cd/millrace/pkg/service"
	"github.com/millrace-cd/millrace/pkg/snapshot"
	"github.com/millrace-cd/millrace/pkg/stage"
	"github.com/millrace-cd/millrace/pkg/step"
	"github.com/millrace-cd/millrace/pkg/workspace"
)

// Config is what only the builder needs.
type Config struct {
	Parallel int `env:"PARALLEL_STEPS"` // builds of one delivery at the same time; 0 = as many as the engine has cores
}

// Serve builds tested snapshots until ctx ends.
func Serve(ctx context.Context, k *service.Kit, cfg Config) error {
	b := builder{kit: k, source: k.Source(), steps: k.Steps(cfg.Parallel)}
	options := service.Options[event.Tested](k)
	// What a fork or pull request brought is tested, and goes no further.
	options.Target = func(t event.Tested) (string, bool) { return "", !t.Untrusted }
	return stage.Work(ctx, k.Bus, b.run, options)
}

type builder struct {
	kit    *service.Kit
	source snapshot.Source
	steps  *step.Runner
}

func (b builder) run(ctx context.Context, j stage.Job[event.Tested]) (event.Built, error) {
	out := event.Built{Tested: j.Event}
	if err := b.kit.Custody.VerifyTested(ctx, j.Event, j.Stored); err != nil {
		return out, err
	}
	_, file, err := b.source.Open(ctx, j.Event)
	if err != nil {
		return out, err
	}
	build, err := file.Build.Expand(snapshot.Vars(out.Commit))
	if err != nil {
		return out, stage.Fail("%w", err)
	}
	images, err := b.kit.Resolve(ctx, out.Images, imagesOf(build)...)
	if err != nil {
		return out, err
	}
	products := productsOf(build)
	defer func() { _ = discard(products) }()
	out.Build, err = b.build(ctx, j, products, build, images)
	if err != nil {
		return out, err
	}
	if err := step.Failure(out.Build); err != nil {
		return out, stage.Fail("%w", err)
	}
	if err := reproduced(products); err != nil {
		return out, err
	}
	if err := b.store(ctx, products, &out); err != nil {
		return out, err
	}
	return out, b.kit.Custody.SignBuilt(ctx, &out, imagesOf(build))
}

func imagesOf(b pipeline.Build) []string {
	refs := []string{b.Image}
	for _, s := range b.Services {
		refs = append(refs, s.Image)
	}
	return refs
}

// product is what one run of the build makes.
type product struct {
	name     string // of its step
	platform string // "" for the engine's own
	again    bool   // only made to be compared with the one before it

	tar   *archive.Tar
	files []archive.File
}

// productsOf lists the runs: one for each platform, and as many again where they have
// to be reproducible.
func productsOf(b pipeline.Build) (products []*product) {
	platforms := b.Platforms
	if len(platforms) == 0 {
		platforms = []string{""}
	}
	for _, p := range platforms {
		name := "build"
		if p != "" {
			name += "[" + p + "]"
		}
		products = append(products, &product{name: name, platform: p})
		if b.Reproducible {
			products = append(products, &product{name: name + " again", platform: p, again: true})
		}
	}
	return products
}

// steps are the runs of the build. The platform is told in the environment, by the
// names that Docker's own builds use; the container is always the engine's.
func steps(products []*product, b pipeline.Build) (list []pipeline.Step) {
	for _, p := range products {
		s := b.Step
		s.Name = p.name
		s.Env = map[string]string{}
		if p.platform != "" {
			parts := strings.SplitN(p.platform+"//", "/", 4)
			s.Env["TARGETPLATFORM"], s.Env["TARGETOS"], s.Env["TARGETARCH"], s.Env["TARGETVARIANT"] = p.platform, parts[0], parts[1], parts[2]
		}
		maps.Copy(s.Env, b.Env)
		list = append(list, s)
	}
	return list
}

// build runs the build in fresh containers and packs what it made while it is there.
func (b builder) build(ctx context.Context, j stage.Job[event.Tested], products []*product, build pipeline.Build, images map[string]container.Image) ([]event.Step, error) {
	owner := container.Owner{App: j.Event.App, Delivery: j.Event.Number, Stage: event.StageBuild, Attempt: j.Attempt}
	session, err := b.kit.Engine.Open(ctx, owner, container.SessionOptions{})
	if err != nil {
		return nil, err
	}
	defer session.Close(ctx)
	byName := map[string]*product{}
	for _, p := range products {
		byName[p.name] = p
	}
	return b.steps.Run(ctx, step.Group{
		Owner: owner, Commit: j.Event.Commit, Session: session, Images: images, Vars: snapshot.Vars(j.Event.Commit),
		Steps: steps(products, build), Tree: j.Event.Snapshot.Digest,
		Trees: func(ctx context.Context, shared bool) (*workspace.Tree, error) {
			return b.source.Tree(ctx, "snapshot", j.Event.Snapshot, shared)
		},
		Done: func(_ context.Context, name string, v *workspace.View) (theirs, ours error) {
			return b.pack(byName[name], v, build.Artifacts)
		},
	})
}

// pack packs the files that the globs match.
func (b builder) pack(p *product, v *workspace.View, globs []string) (theirs, ours error) {
	err := p.pack(b.kit.TempDir(), v, globs)
	if errors.Is(err, archive.ErrRefused) {
		return err, nil
	}
	return nil, err
}
