package container

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/strslice"
)

// Service is a container beside steps: a database, or the release under test.
type Service struct {
	Name    string // host name on the session's network
	Attempt int

	Image      string // as [Image].Pinned
	Entrypoint []string
	Command    []string // both as the image has them when empty
	Env        map[string]string
	User       string

	// Secrets are more of the environment. An image's own program is started as it is,
	// so there is no other way: they are in the container's configuration, which whoever
	// controls the engine can read.
	Secrets map[string]string

	Mounts []Mount
	Limits Limits

	// Ready tells when it is ready. Without, the image's HEALTHCHECK counts, else
	// its first exposed port; else it is ready when started.
	Ready *Probe
}

// Service starts a container that lives as long as the session, and waits until it
// is ready. That it does not get ready is a [NotReady]; it is left for its logs.
// The session's network is [Private] or [Sealed].
func (s *Session) Service(ctx context.Context, svc Service) (*Running, error) {
	r, err := s.service(ctx, svc)
	if err != nil {
		if _, unready := errors.AsType[*NotReady](err); unready {
			return r, err
		}
		return r, fmt.Errorf("service %s: %w", svc.Name, err)
	}
	return r, nil
}

func (s *Session) service(ctx context.Context, svc Service) (*Running, error) {
	if s.network == "" {
		return nil, fmt.Errorf("%w: the session has no network of its own", ErrStep)
	}
	ctx, release, err := s.busy(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	img, err := s.e.inspectImage(ctx, svc.Image)
	if errors.Is(err, ErrNoImage) {
		return nil, removedImage(svc.Image)
	}
	if err != nil {
		return nil, err
	}
	ahead := s.namespace(svc.Name)
	id, err := s.e.launch(ctx, func(ctx context.Context, nofile int64) (string, error) {
		c, host, err := svc.config(s.place(nofile))
		if err != nil {
			return "", err
		}
		if err = s.makeCaches(ctx, svc.Mounts); err != nil {
			return "", err
		}
		ends := named(s.network, svc.Name)
		host.NetworkMode = container.NetworkMode(s.network)
		if ahead != "" {
			ends, host.NetworkMode = nil, container.NetworkMode(containerMode+ahead)
		}
		return s.e.create(ctx, objectName(s.owner.App, fmt.Sprint(s.owner.Delivery), s.owner.Stage, svc.Name), c, host, ends)
	})
	if err != nil {
		return nil, err
	}
	r, err := s.e.Find(ctx, id)
	if err != nil {
		return nil, err
	}
	if probe := svc.Ready; probe != nil {
		return r, r.probe(ctx, svc.Name, *probe)
	}
	if probe, ok := img.probe(); ok {
		return r, r.probe(ctx, svc.Name, probe)
	}
	return r, nil
}

// busy keeps the session's end waiting until release. Its closing ends the context.
func (s *Session) busy(ctx context.Context) (bound context.Context, release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil, nil, ErrClosed
	}
	bound, cancel := context.WithCancelCause(ctx)
	s.steps.Go(func() {
		select {
		case <-s.closing:
			cancel(ErrClosed)
		case <-bound.Done():
		}
	})
	s.steps.Add(1)
	return bound, func() { cancel(nil); s.steps.Done() }, nil
}

// config is the service's container, all but its network.
func (svc Service) config(p place) (*container.Config, *container.HostConfig, error) {
	p = p.of(svc.Name, svc.Attempt)
	if err := checkSecrets(svc.Secrets); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrStep, err)
	}
	env, err := p.env(with(svc.Env, svc.Secrets))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrStep, err)
	}
	c := &container.Config{
		Image: svc.Image, User: svc.User, Env: env,
		Entrypoint: svc.Entrypoint, Cmd: strslice.StrSlice(svc.Command),
		// We ask by ourselves, and more often than once in 30 seconds.
		Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
		Labels:      p.labels(kindService),
	}
	host := hardened(svc.Limits, false, p.machine)
	if err := p.furnish(host, svc.Mounts); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrStep, err)
	}
	return c, host, nil
}

// probe is how an image says that its container is ready, if it does.
func (i Image) probe() (Probe, bool) {
	if len(i.Healthcheck) > 1 {
		switch i.Healthcheck[0] {
		case "CMD":
			return Probe{argv: i.Healthcheck[1:]}, true
		case "CMD-SHELL":
			return Probe{argv: []string{"/bin/sh", "-c", i.Healthcheck[1]}}, true
		}
	}
	if len(i.Ports) > 0 {
		return Probe{TCP: i.Ports[0]}, true
	}
	return Probe{}, false
}

// defaultWithin is how long a probe may take.
const defaultWithin = time.Minute
