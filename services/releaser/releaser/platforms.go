package releaser

import (
	"context"
	"errors"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/image"
	"github.com/millrace-cd/millrace/pkg/stage"
	"github.com/millrace-cd/millrace/pkg/store"
)

// target is a platform that an image is made for.
type target struct {
	platform string // os/arch or os/arch/variant
	named    bool   // by the file; else it is the engine's, and a base may be for any
	artifact event.Blob
}

// own is the engine's platform.
func (m *making) own() string { return "linux/" + m.kit.Engine.Info().Architecture }

// targets are the platforms that the file asks for, or the engine's.
func (m *making) targets() ([]target, error) {
	return targetsOf(m.built, m.own(), m.release.Platforms, m.runs())
}

// runs is what of the recipe runs on the engine, so that it is for its platform; "" where
// files are put together.
func (m *making) runs() string {
	switch {
	case m.release.Dockerfile != nil:
		return "dockerfile"
	case len(m.release.Install) > 0:
		return "install"
	}
	return ""
}

func targetsOf(b event.Built, own string, platforms []string, runs string) (targets []target, err error) {
	if len(platforms) == 0 {
		return []target{{platform: own, artifact: b.Artifact}}, nil
	}
	if !slices.Contains(platforms, own) {
		return nil, stage.Fail("release.platforms: the release is accepted on this engine, which runs %s; add that, here and to build.platforms", own)
	}
	for _, p := range platforms {
		blob, ok := b.Platforms[p]
		switch {
		case !ok:
			return nil, stage.Fail("release.platforms: the build made no artifact for %s; add it to build.platforms", p)
		case runs != "" && p != own:
			return nil, stage.Fail("release.platforms: %s: release.%s runs on this engine, which is %s; make the image of files, or leave this platform out", p, runs, own)
		}
		targets = append(targets, target{platform: p, named: true, artifact: blob})
	}
	return targets, nil
}

// base is the image that the delivery pinned when it was tested, for a platform.
func (m *making) base(ctx context.Context, ref string, t target) (v1.Image, error) {
	if ref == "scratch" {
		return image.Scratch(), nil
	}
	pin, ok := m.built.Images[ref]
	switch {
	case !ok:
		return nil, stage.Refuse("base image %s was not resolved when the commit was tested", ref)
	case strings.HasPrefix(pin, "sha256:"): // no registry has it: only this engine
		return m.localBase(ctx, ref, pin, t)
	case !t.named:
		return m.kit.Store.Image(ctx, pin)
	}
	img, err := m.kit.Store.ImageFor(ctx, pin, t.platform)
	if errors.Is(err, store.ErrPlatform) {
		return nil, stage.Fail("release.platforms: base %s: %w", ref, err)
	}
	return img, err
}

func (m *making) localBase(ctx context.Context, ref, id string, t target) (v1.Image, error) {
	img, err := m.kit.LocalImage(ctx, id)
	if err != nil || !t.named {
		return img, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	if is := config.OS + "/" + config.Architecture; is != t.platform {
		return nil, stage.Fail("release.platforms: base %s is for %s alone: no registry has it, only this engine; there is none for %s", ref, is, t.platform)
	}
	return img, nil
}
