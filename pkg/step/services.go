package step

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/pipeline"
	"github.com/millrace-cd/millrace/pkg/stage"
)

// defaultTmpfs is the size of a service's directory in memory.
const defaultTmpfs = 1 << 30

// connect chooses the step's session: the group's, or one of its own where it has
// services, so that their names are its alone. Those begin to start.
func (t *try) connect(ctx context.Context) (*container.Session, error) {
	s := t.o.spec
	if len(s.Services) == 0 {
		return t.w.Session, nil
	}
	session := t.w.Session
	if !t.w.OneNetwork {
		network := container.Private
		if !s.Network {
			network = container.Sealed
		}
		var err error
		if session, err = t.w.Engine.Open(ctx, t.w.Owner, container.SessionOptions{Network: network, Services: s.ServiceOrder}); err != nil {
			return nil, err
		}
		t.session = session
	}
	t.services = make(chan error, 1)
	go func() { t.services <- t.w.startServices(ctx, session, s) }() // ends with the session at the latest
	return session, nil
}

// startServices starts what runs beside a step, all at once, and waits until it is
// ready.
func (w *work) startServices(ctx context.Context, session *container.Session, s pipeline.Step) error {
	ctx, span := w.Tracer.Start(ctx, "services of "+s.Name)
	defer span.End()
	g, ctx := errgroup.WithContext(ctx)
	for _, name := range s.ServiceOrder {
		g.Go(func() error { return w.startService(ctx, session, s.Services[name]) })
	}
	return g.Wait()
}

func (w *work) startService(ctx context.Context, session *container.Session, s *pipeline.Service) error {
	if err := Inside(s.Ready); err != nil {
		return err
	}
	image, ok := w.Images[s.Image]
	if !ok {
		return fmt.Errorf("service %s: image %s was not resolved", s.Name, s.Image)
	}
	secrets, err := w.secrets(s.Secrets)
	if err != nil {
		return err
	}
	var mounts []container.Mount
	for _, dir := range s.Tmpfs {
		mounts = append(mounts, container.Mount{Target: dir, Tmpfs: defaultTmpfs})
	}
	ctx, span := w.Tracer.Start(ctx, "service "+s.Name)
	defer span.End()
	_, err = session.Service(ctx, container.Service{
		Name: s.Name, Attempt: w.Owner.Attempt, Image: image.Pinned, Command: s.Command, Env: s.Env, Secrets: secrets,
		Mounts: mounts, Limits: Limits(s.Resources), Ready: Probe(s.Ready),
	})
	return err
}

// Inside refuses a probe that asks somewhere else than the container that it is about:
// we would ask it from within our own network, and tell the answer.
func Inside(p *pipeline.Probe) error {
	if p != nil && strings.Contains(p.HTTP, "://") {
		return stage.Fail("ready.http %s: it has to be :port/path of the container itself", p.HTTP)
	}
	return nil
}

// Probe is a file's probe, for the engine; nil for nil.
func Probe(p *pipeline.Probe) *container.Probe {
	if p == nil {
		return nil
	}
	return &container.Probe{HTTP: p.HTTP, TCP: p.TCP, Run: p.Run, Log: p.Log, Status: p.Status, Every: p.Every, Within: p.Within}
}

// Limits are a file's resources, for the engine.
func Limits(r pipeline.Resources) container.Limits {
	return container.Limits{CPU: r.CPU, Memory: r.Memory, Pids: r.Pids}
}
