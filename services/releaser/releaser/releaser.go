// Package releaser turns an artifact into a released image.
//
// It assembles the image, stores it by digest, starts that very image in an
// environment of its own and lets acceptance tests in containers of their own at it.
// Only if all pass does the image get its name and tags: a release that was not
// accepted has no name anywhere.
package releaser

import (
	"context"
	"strings"

	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/pipeline"
	"github.com/millrace-cd/millrace/pkg/service"
	"github.com/millrace-cd/millrace/pkg/snapshot"
	"github.com/millrace-cd/millrace/pkg/stage"
	"github.com/millrace-cd/millrace/pkg/step"
	"github.com/millrace-cd/millrace/pkg/store"
)

// Config is what only the releaser needs.
type Config struct {
	Parallel int `env:"PARALLEL_STEPS"` // acceptance steps of one delivery at the same time; 0 = as many as the engine has cores
}

// Serve releases artifacts until ctx ends.
func Serve(ctx context.Context, k *service.Kit, cfg Config) error {
	r := releaser{kit: k, source: k.Source(), steps: k.Steps(cfg.Parallel)}
	return stage.Work(ctx, k.Bus, r.run, service.Options[event.Built](k))
}

type releaser struct {
	kit    *service.Kit
	source snapshot.Source
	steps  *step.Runner
}

func (r releaser) run(ctx context.Context, j stage.Job[event.Built]) (event.Released, error) {
	out := event.Released{Built: j.Event}
	_, file, err := r.source.Open(ctx, out.Tested)
	if err != nil {
		return out, err
	}
	release, err := file.Release.Expand(snapshot.Vars(out.Commit))
	if err != nil {
		return out, stage.Fail("%w", err)
	}
	if err := supported(release); err != nil {
		return out, err
	}
	if err := step.Inside(release.Ready); err != nil {
		return out, err
	}
	if _, err := r.repository(out.App, release.Image); err != nil {
		return out, err // before anything is made
	}
	internal, err := r.accept(ctx, j, file, release, &out)
	if err != nil {
		return out, err
	}
	if err := step.Failure(out.Acceptance); err != nil {
		return out, stage.Fail("%w", err)
	}
	return out, r.publish(ctx, internal, release, &out)
}

// publish gives the accepted image its name. Nothing is built again: the name is
// for the digest that was tested.
func (r releaser) publish(ctx context.Context, internal string, release pipeline.Release, out *event.Released) error {
	ctx, span := r.kit.Tracer.Start(ctx, "publish image "+release.Image)
	defer span.End()
	to, err := r.repository(out.App, release.Image)
	if err != nil {
		return err
	}
	image, err := r.kit.Store.Copy(ctx, internal, to)
	if err != nil {
		return err
	}
	tags := make([]store.Tag, 0, len(release.Tags))
	for _, t := range release.Tags {
		tags = append(tags, store.Tag{Name: t})
	}
	if err := r.kit.Store.Tag(ctx, image, tags...); err != nil {
		return err
	}
	out.Image, out.Tags = image, release.Tags
	return nil
}

// repository is where the file wants the image; a name without a host is in the
// installation's own registry. There, apps have the repositories of their own name
// only: a file cannot overwrite another app's images, nor what we keep.
func (r releaser) repository(app, image string) (string, error) {
	host, _, found := strings.Cut(image, "/")
	if !found || !strings.ContainsAny(host, ".:") && host != "localhost" {
		image = r.kit.RegistryPublic + "/" + image
	}
	name, ours := strings.CutPrefix(image, r.kit.RegistryPublic+"/")
	if ours && name != app && !strings.HasPrefix(name, app+"/") {
		return "", stage.Fail("release.image %s: in this registry, app %s may publish as %s or %s/…", name, app, app, app)
	}
	return image, nil
}

// supported refuses by name what this version cannot do yet: to leave it out in
// silence would release something else than the file says.
func supported(r pipeline.Release) error {
	for what, asked := range map[string]bool{
		"release.dockerfile": r.Dockerfile != nil,
		"release.install":    len(r.Install) > 0,
		"release.platforms":  len(r.Platforms) > 0,
		"release.scan":       r.Scan != nil,
		"release.max_size":   r.MaxSize > 0,
	} {
		if asked {
			return stage.Fail("%s is not supported by this version of millrace", what)
		}
	}
	return nil
}
