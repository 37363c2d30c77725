package releaser

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/millrace-cd/millrace/pkg/archive"
	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/image"
	"github.com/millrace-cd/millrace/pkg/workspace"
)

// artifactDir is where install finds the artifact, read-only.
const artifactDir = "/artifact"

// recipeTimeout is how long an installation and a Dockerfile may take: as long as any
// step.
const recipeTimeout = 30 * time.Minute

// install runs the file's commands in the base, as root, and gives what they changed as
// one layer; nil where the file has none, or they changed nothing. There is no network
// unless the file says so: what installing needs is in the base or in the artifact.
func (m *making) install(ctx context.Context, t target, base v1.Image) (layer *image.Layer, err error) {
	if len(m.release.Install) == 0 {
		return nil, nil
	}
	images, err := m.kit.Resolve(ctx, m.built.Images, m.release.Base)
	if err != nil {
		return nil, err
	}
	session, err := m.kit.Engine.Open(ctx, m.owner, container.SessionOptions{})
	if err != nil {
		return nil, err
	}
	defer session.Close(ctx)
	view, err := m.artifact(ctx, t, "install")
	if err != nil {
		return nil, err
	}
	s := m.installation(images[m.release.Base].Pinned, view)
	s.Commit = func(ctx context.Context, id string) (err error) {
		layer, err = m.changes(ctx, id, base)
		return err
	}
	prepared := false
	err = m.record(ctx, s.Name, m.release.Base, func(ctx context.Context, out io.Writer, env map[string]string) (int, string, error) {
		prepared = true
		commands := &tail{}
		s.Env = env
		exit, err := session.Step(ctx, s).Run(ctx, io.MultiWriter(out, commands))
		if errors.Is(err, container.ErrStep) || errors.Is(err, archive.ErrRefused) {
			return exit.Code, err.Error(), nil
		}
		commands.end()
		return exit.Code, installFailure(exit, commands.command), err
	})
	if !prepared {
		_ = view.Remove()
	}
	return layer, err
}

// installFailure tells which command failed, and why; "" where none did.
func installFailure(exit container.Exit, command string) string {
	reason := failure(exit, recipeTimeout)
	switch {
	case reason == "":
		return ""
	case command != "":
		return "`" + command + "` " + reason
	case exit.Code == 127:
		return "the base image has no /bin/sh to run commands in; use files, or another base"
	}
	return reason
}

// installation is the container that the commands run in. Its shell tells each before it
// runs it.
func (m *making) installation(image string, artifact *workspace.View) container.Step {
	return container.Step{
		Name: "install", Attempt: m.owner.Attempt, Image: image, User: "0:0",
		Run: m.release.Install, Shell: []string{"/bin/sh", "-exc"},
		Network: m.release.InstallNetwork, Timeout: recipeTimeout,
		Mounts: []container.Mount{{Target: artifactDir, ReadOnly: true, Overlay: &container.Overlay{
			Lower: artifact.Lower, Upper: artifact.Upper, Work: artifact.Work, UserXattr: artifact.UserXattr,
		}}},
		Removed: func() { _ = artifact.Remove() }, // what stays is swept with the old views
	}
}

// changes is the layer that an image has over base.
func (m *making) changes(ctx context.Context, id string, base v1.Image) (*image.Layer, error) {
	img, err := m.kit.LocalImage(ctx, id)
	if err != nil {
		return nil, err
	}
	defer m.kit.ForgetImage(id)
	top, err := above(img, base)
	if err != nil || top == nil {
		return nil, err
	}
	return image.Compress(m.kit.TempDir(), func(w io.Writer) error {
		r, err := top.Uncompressed()
		if err != nil {
			return err
		}
		defer func() { _ = r.Close() }()
		return image.Normalize(w, r, image.Options{Created: m.built.Time, Drop: notInstalled, Dir: m.kit.TempDir()})
	})
}

// notInstalled tells of a path that it is in the container for us, or for the engine.
func notInstalled(name string) bool {
	return name == artifactDir[1:] || name == "run/millrace" || image.EngineOwned(name)
}

// above is the layer that an image has more than base; nil if it has none. It is an error
// where the engine's base is another one than the registry's.
func above(img, base v1.Image) (v1.Layer, error) {
	has, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	of, err := base.ConfigFile()
	if err != nil {
		return nil, err
	}
	below, all := of.RootFS.DiffIDs, has.RootFS.DiffIDs
	if len(all) < len(below) || len(all) > len(below)+1 || !slices.Equal(all[:len(below)], below) {
		return nil, fmt.Errorf("the engine has other layers of the base image (%d with the installation) than its registry (%d)", len(all), len(below))
	}
	if len(all) == len(below) {
		return nil, nil
	}
	return img.LayerByDiffID(all[len(below)])
}
