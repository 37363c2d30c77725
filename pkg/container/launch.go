package container

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
)

const (
	startTimeout  = 2 * time.Minute
	removeTimeout = time.Minute
)

// nofileLimit is how many open files containers may have, the best for index 0; 0
// leaves it to the engine. An engine that may not raise its own limit refuses to
// start anything with more, and only a start finds that out.
func nofileLimit(index int32) int64 {
	return [...]int64{65536, 16384, 8192, 0}[index]
}

// launch creates a container with create and starts it, within the engine's
// bound of starts at a time. It is not interrupted by the end of ctx half way, so
// that the ID of what was created is known. The ID counts even with an error.
func (e *Engine) launch(ctx context.Context, create creator) (string, error) {
	if err := e.settle(ctx); err != nil {
		return "", err
	}
	release, err := e.slot(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	return e.startWith(ctx, create)
}

// creator creates a container that may have so many open files.
type creator func(ctx context.Context, nofile int64) (id string, err error)

// settle finds out how many open files the engine allows, with a container that is on no
// network: of starts that fail side by side, an engine may forget to take the ends off
// their network, which then can never be removed.
func (e *Engine) settle(ctx context.Context) error {
	e.settling.Lock()
	defer e.settling.Unlock()
	if e.settled {
		return nil
	}
	if err := e.ensurePause(ctx); err != nil {
		return err
	}
	name := objectName("pause", e.cfg.Instance) // by which it is found where the answer with its ID is lost
	_, err := e.startWith(ctx, e.pauseOn(network.NetworkNone, name, nil, Owner{}.labels(e.cfg.Instance, e.spareSession(), kindPause)))
	if err = errors.Join(err, e.remove(ctx, name)); err != nil {
		return fmt.Errorf("find out how many open files the engine allows: %w", err)
	}
	e.settled = true
	return nil
}

func (e *Engine) startWith(ctx context.Context, create creator) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
	defer cancel()
	for {
		limit := e.nofile.Load()
		id, err := create(ctx, nofileLimit(limit))
		if err != nil {
			return id, err
		}
		if err = e.start(ctx, id, limit); !errors.Is(err, errNofile) {
			return id, err
		}
		if err := e.remove(ctx, id); err != nil {
			return id, err
		}
	}
}

// errNofile says that the container wants more open files than the engine allows,
// and that the next one will want less.
var errNofile = errors.New("the engine allows fewer open files")

// start starts a container that was created with the limit of that index.
func (e *Engine) start(ctx context.Context, id string, limit int32) error {
	err := e.api.ContainerStart(ctx, id, container.StartOptions{})
	if err == nil {
		return nil
	}
	if strings.Contains(err.Error(), "rlimit") && nofileLimit(limit) > 0 {
		e.nofile.CompareAndSwap(limit, limit+1)
		return errNofile
	}
	return err
}

// slot waits until one more container may be starting.
func (e *Engine) slot(ctx context.Context) (release func(), err error) {
	select {
	case e.starts <- struct{}{}:
		return func() { <-e.starts }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// create makes a container and returns its ID.
func (e *Engine) create(ctx context.Context, name string, c *container.Config, host *container.HostConfig, net *network.NetworkingConfig) (string, error) {
	created, err := e.api.ContainerCreate(ctx, c, host, net, nil, name)
	if errdefs.IsNotFound(err) && strings.Contains(strings.ToLower(err.Error()), "no such image") {
		return "", removedImage(c.Image)
	}
	if err != nil {
		return "", fmt.Errorf("create container from %s: %w", c.Image, err)
	}
	return created.ID, nil
}

// removedImage says that an image that was resolved is not there. It is no [ErrNoImage],
// which would be the fault of who named it: who resolves it again gets it again.
func removedImage(ref string) error {
	return fmt.Errorf("create container: somebody has removed image %s from the engine", ref)
}

// remove kills and removes a container with its anonymous volumes. It goes on
// when everything else is being cancelled; that there is none is no error.
func (e *Engine) remove(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	err := e.api.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if err == nil || errdefs.IsNotFound(err) {
		return nil
	}
	if strings.Contains(err.Error(), "already in progress") {
		return e.awaitRemoval(ctx, id)
	}
	return fmt.Errorf("remove container %.12s: %w", id, err)
}

// awaitRemoval waits for a removal that somebody else began.
func (e *Engine) awaitRemoval(ctx context.Context, id string) error {
	done, failed := e.api.ContainerWait(ctx, id, container.WaitConditionRemoved)
	select {
	case <-done:
		return nil
	case err := <-failed:
		if errdefs.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("remove container %.12s: %w", id, err)
	}
}
