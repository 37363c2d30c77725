package releaser

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/millrace-cd/millrace/pkg/archive"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/image"
	"github.com/millrace-cd/millrace/pkg/pipeline"
	"github.com/millrace-cd/millrace/pkg/stage"
	"github.com/millrace-cd/millrace/pkg/workspace"
)

// assembled is an image that is stored by digest in the internal repository, where nobody
// but us looks.
type assembled struct {
	name   string              // public-name@sha256:… there
	run    string              // the one that this engine runs
	images map[string]v1.Image // by platform; their layers can be read until close
	steps  []event.Step

	closers []func() error
}

func (a *assembled) close() {
	for _, c := range a.closers {
		_ = c()
	}
}

func (r releaser) assemble(ctx context.Context, _ stage.Job[event.Built], b event.Built, _ *pipeline.File, release pipeline.Release) (*assembled, error) {
	ctx, span := r.kit.Tracer.Start(ctx, "assemble image")
	defer span.End()
	tree, err := r.source.Tree(ctx, "artifact", b.Artifact, false)
	if err != nil {
		return nil, err
	}
	view, err := tree.View(fmt.Sprintf("%s-%d-files-%d", b.App, b.Number, time.Now().UnixNano()))
	if err != nil {
		return nil, err
	}
	defer func() { _ = view.Remove() }()
	entries, err := place(view, release.Files)
	if errors.Is(err, archive.ErrRefused) {
		return nil, stage.Fail("release.files: %w", err)
	}
	if err != nil {
		return nil, err
	}
	layer, err := image.Compress(r.kit.TempDir(), func(w io.Writer) error {
		_, err := archive.Pack(w, entries, archive.Artifact())
		return err
	})
	if errors.Is(err, archive.ErrRefused) {
		return nil, stage.Fail("release.files: %w", err)
	}
	if err != nil {
		return nil, err
	}
	base, err := r.base(ctx, b, release.Base)
	if err != nil {
		return nil, err
	}
	img, err := image.Assemble(base, []*image.Layer{layer}, settings(b, release, r.kit.Engine.Info().Architecture))
	if err != nil {
		return nil, err
	}
	name, err := r.kit.Store.PushImage(ctx, b.App, img)
	return &assembled{name: name, run: name, images: map[string]v1.Image{"linux/" + r.kit.Engine.Info().Architecture: img}, closers: []func() error{layer.Close}}, err
}

// base is the image that the delivery pinned when it was tested.
func (r releaser) base(ctx context.Context, b event.Built, ref string) (v1.Image, error) {
	if ref == "scratch" {
		return image.Scratch(), nil
	}
	pin, ok := b.Images[ref]
	if !ok {
		return nil, stage.Refuse("base image %s was not resolved when the commit was tested", ref)
	}
	if strings.HasPrefix(pin, "sha256:") { // no registry has it: only this engine
		return r.kit.LocalImage(ctx, pin)
	}
	return r.kit.Store.Image(ctx, pin)
}

// settings are what the file says of the image, and where the image comes from.
func settings(b event.Built, r pipeline.Release, architecture string) image.Settings {
	labels := map[string]string{
		"org.opencontainers.image.source":   b.Repository,
		"org.opencontainers.image.revision": b.Hash,
		"org.opencontainers.image.created":  b.Time.UTC().Format(time.RFC3339),
	}
	maps.Copy(labels, r.Labels)
	return image.Settings{
		OS: "linux", Architecture: architecture,
		User: r.User, Workdir: r.Workdir, Entrypoint: r.Entrypoint, Command: r.Command, Ports: r.Ports,
		Env: r.Env, Labels: labels, Volumes: r.Volumes, Created: b.Time,
	}
}

// place maps files of the artifact to paths in the image.
func place(artifact *workspace.View, files []pipeline.FileMap) ([]archive.Entry, error) {
	placed := map[string]archive.Entry{}
	for _, m := range files {
		entries, err := artifact.Files([]string{m.From}, archive.Artifact())
		if err != nil {
			return nil, err
		}
		single := len(entries) == 1 && entries[0].Path == m.From && !strings.HasSuffix(m.To, "/")
		for _, e := range entries {
			to := m.To
			if !single {
				to = path.Join(m.To, strings.TrimPrefix(e.Path, fixed(m.From)))
			}
			e.Path = strings.TrimPrefix(path.Clean(to), "/")
			placed[e.Path] = e
		}
	}
	return slices.SortedFunc(maps.Values(placed), func(a, b archive.Entry) int { return strings.Compare(a.Path, b.Path) }), nil
}

// fixed is the part of a glob before its first wildcard, up to a slash: what is
// below it keeps its path.
func fixed(glob string) string {
	if i := strings.IndexAny(glob, "*?[{"); i >= 0 {
		glob = glob[:i]
	}
	return glob[:strings.LastIndex(glob, "/")+1]
}
