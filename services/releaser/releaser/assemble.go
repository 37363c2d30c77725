package releaser

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/image"
	"github.com/millrace-cd/millrace/pkg/pipeline"
	"github.com/millrace-cd/millrace/pkg/stage"
	"github.com/millrace-cd/millrace/pkg/workspace"
)

// assembled is an image that is stored by digest in the internal repository, where nobody
// but us looks.
type assembled struct {
	name   string              // public-name@sha256:… there, of the image or of an index of images
	run    string              // the one that this engine runs: name, or the index's for it
	images map[string]v1.Image // by platform, os/arch; their layers can be read until close
	steps  []event.Step        // what ran to make it

	closers []func() error
}

// close frees what the layers take up here. It may be called more than once.
func (a *assembled) close() {
	for _, c := range slices.Backward(a.closers) {
		_ = c() // a temporary file: it is swept
	}
	a.closers = nil
}

// hold lets something be closed with the image.
func (a *assembled) hold(c func() error) { a.closers = append(a.closers, c) }

// making is one image on its way.
type making struct {
	releaser

	owner   container.Owner // of what runs to make it
	built   event.Built
	release pipeline.Release // with its variables filled in
	out     *assembled
}

// assemble makes the image, or one for each platform that the file asks for, and stores
// it. Beside an error it returns what ran until then.
//
// An image is of a Dockerfile, or of a base with up to two layers: what install changed,
// and over that the files, which install does not see. So what the file says of a path is
// what the image has there.
func (r releaser) assemble(ctx context.Context, j stage.Job[event.Built], release pipeline.Release) (*assembled, error) {
	ctx, span := r.kit.Tracer.Start(ctx, "assemble image")
	defer span.End()
	m := &making{releaser: r, owner: ownerOf(j), built: j.Event, release: release, out: &assembled{images: map[string]v1.Image{}}}
	// Layers of bases are fetched when they are read, which is until close.
	reading, stop := context.WithCancel(context.WithoutCancel(ctx))
	m.out.hold(func() error { stop(); return nil })
	defer context.AfterFunc(ctx, stop)()
	err := m.make(reading)
	if err != nil {
		m.out.close()
	}
	return m.out, err
}

func (m *making) make(ctx context.Context) error {
	targets, err := m.targets()
	if err != nil {
		return err
	}
	for _, t := range targets {
		img, err := m.image(ctx, t)
		if err == nil {
			img, err = m.judged(ctx, t, img)
		}
		if err != nil {
			return err
		}
		m.out.images[t.platform] = img
	}
	return m.store(ctx)
}

// image makes the one for a platform.
func (m *making) image(ctx context.Context, t target) (v1.Image, error) {
	if m.release.Dockerfile != nil {
		return m.build(ctx, t)
	}
	base, err := m.base(ctx, m.release.Base, t)
	if err != nil {
		return nil, err
	}
	var layers []*image.Layer
	for _, part := range []func(context.Context, target, v1.Image) (*image.Layer, error){m.install, m.files} {
		layer, err := part(ctx, t, base)
		if err != nil {
			return nil, err
		}
		if layer != nil {
			m.out.hold(layer.Close)
			layers = append(layers, layer)
		}
	}
	return image.Assemble(base, layers, m.settings(t))
}

// store keeps the image where nobody but us looks.
func (m *making) store(ctx context.Context) (err error) {
	own := m.out.images[m.own()]
	if len(m.release.Platforms) == 0 {
		m.out.name, err = m.kit.Store.PushImage(ctx, m.built.App, own)
		m.out.run = m.out.name
		return err
	}
	index, err := image.Index(m.out.images, m.labels())
	if err != nil {
		return err
	}
	if m.out.name, err = m.kit.Store.PushIndex(ctx, m.built.App, index); err != nil {
		return err
	}
	digest, err := own.Digest()
	repository, _, _ := strings.Cut(m.out.name, "@")
	m.out.run = repository + "@" + digest.String()
	return err
}

// settings are what the file says of the image, and where the image comes from.
func (m *making) settings(t target) image.Settings {
	r := m.release
	system, architecture, _ := strings.Cut(t.platform, "/")
	architecture, _, _ = strings.Cut(architecture, "/")
	return image.Settings{
		OS: system, Architecture: architecture,
		User: r.User, Workdir: r.Workdir, Entrypoint: r.Entrypoint, Command: r.Command, Ports: r.Ports,
		Env: r.Env, Labels: m.labels(), Volumes: r.Volumes, Created: m.built.Time,
	}
}

func (m *making) labels() map[string]string {
	labels := map[string]string{
		"org.opencontainers.image.source":   m.built.Repository,
		"org.opencontainers.image.revision": m.built.Hash,
		"org.opencontainers.image.created":  m.built.Time.UTC().Format(time.RFC3339),
	}
	maps.Copy(labels, m.release.Labels)
	return labels
}

// artifact is a view of a platform's artifact, whose name is told to people.
func (m *making) artifact(ctx context.Context, t target, what string) (*workspace.View, error) {
	tree, err := m.source.Tree(ctx, "artifact", t.artifact, false)
	if err != nil {
		return nil, err
	}
	return tree.View(fmt.Sprintf("%.40s-%d-%s-%d", m.built.App, m.built.Number, what, time.Now().UnixNano()))
}
