package container

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/volume"
)

// Volume is a cache that outlives deliveries, named in a [Mount].
type Volume struct {
	Name    string
	App     string
	Created time.Time
}

// Volumes lists the caches of an app, or of all when it is empty.
func (e *Engine) Volumes(ctx context.Context, app string) ([]Volume, error) {
	pairs := []string{labelKind, kindCache}
	if app != "" {
		pairs = append(pairs, labelApp, app)
	}
	found, err := e.api.VolumeList(ctx, volume.ListOptions{Filters: labelled(pairs...)})
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	volumes := make([]Volume, 0, len(found.Volumes))
	for _, v := range found.Volumes {
		created, _ := time.Parse(time.RFC3339, v.CreatedAt) // zero where the engine does not say
		volumes = append(volumes, Volume{Name: v.Name, App: v.Labels[labelApp], Created: created})
	}
	return volumes, nil
}

// RemoveVolume removes a volume that no container uses. That there is none is no error.
func (e *Engine) RemoveVolume(ctx context.Context, name string) error {
	if err := e.api.VolumeRemove(ctx, name, true); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove volume %s: %w", name, err)
	}
	return nil
}
