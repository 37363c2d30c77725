package container

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
)

// commit makes an image of the step's container, which has ended, and gives it away for
// as long as that takes. The image carries the container's labels, so that the reaper
// knows it.
func (p *Prepared) commit(ctx context.Context) (err error) {
	if _, err := p.c.confirm(ctx, p.s.e); err != nil {
		return err
	}
	made, err := p.s.e.api.ContainerCommit(ctx, p.c.id, container.CommitOptions{})
	if err != nil {
		return fmt.Errorf("make an image of the container: %w", err)
	}
	defer func() { err = errors.Join(err, p.s.e.removeImage(ctx, made.ID)) }()
	return p.spec.Commit(ctx, made.ID)
}

// removeImage removes an image that has no other name. That there is none is no error.
func (e *Engine) removeImage(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	_, err := e.api.ImageRemove(ctx, id, image.RemoveOptions{Force: true})
	if err == nil || errdefs.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("remove image %.19s: %w", id, err)
}
