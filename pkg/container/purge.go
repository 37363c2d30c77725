package container

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
)

// Instance is the installation that this engine's objects belong to.
func (e *Engine) Instance() string { return e.cfg.Instance }

// Ping tells whether the engine answers.
func (e *Engine) Ping(ctx context.Context) error {
	if _, err := e.api.Ping(ctx); err != nil {
		return fmt.Errorf("docker engine: %w", err)
	}
	return nil
}

// ImagesNamed lists the images whose name begins with prefix, as name:tag or
// name@sha256:….
func (e *Engine) ImagesNamed(ctx context.Context, prefix string) ([]string, error) {
	found, err := e.api.ImageList(ctx, image.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	var names []string
	for _, i := range found {
		for _, name := range append(i.RepoTags, i.RepoDigests...) {
			if strings.HasPrefix(name, prefix) {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// Purge removes everything of this instance, deployed apps and caches included.
// It is for the end of an installation, not for its life.
func (e *Engine) Purge(ctx context.Context) error {
	mine := labelled(labelInstance, e.cfg.Instance)
	var errs []error
	note := func(err error) { errs = append(errs, err) }
	containers, err := e.api.ContainerList(ctx, container.ListOptions{All: true, Filters: mine})
	note(err)
	for _, c := range containers {
		note(e.remove(ctx, c.ID))
	}
	networks, err := e.api.NetworkList(ctx, network.ListOptions{Filters: mine})
	note(err)
	for _, n := range networks {
		note(e.removeNetwork(ctx, n.ID))
	}
	volumes, err := e.api.VolumeList(ctx, volume.ListOptions{Filters: mine})
	note(err)
	for _, v := range volumes.Volumes {
		note(e.RemoveVolume(ctx, v.Name))
	}
	images, err := e.imagesOf(ctx, mine)
	note(err)
	note(e.removeImages(ctx, images))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("purge instance %s: %w", e.cfg.Instance, err)
	}
	return nil
}
