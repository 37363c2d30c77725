package container

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/volume"
)

// Volume is a cache that outlives deliveries, named in a [Mount].
type Volume struct {
	Name    string
	App     string
	Created time.Time
	Size    int64 // bytes; -1 where it was not asked for
	Users   int   // containers that it is mounted in; -1 where that was not asked for
}

// ErrInUse says that a volume is mounted in a container.
var ErrInUse = errors.New("volume is in use")

// Volumes lists the caches of an app, or of all when it is empty, by name.
func (e *Engine) Volumes(ctx context.Context, app string) ([]Volume, error) {
	found, err := e.api.VolumeList(ctx, volume.ListOptions{Filters: labelled(labelInstance, e.cfg.Instance, labelKind, kindCache)})
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	return e.caches(found.Volumes, app), nil
}

// VolumesUsage is Volumes with sizes and users. The engine adds up all that it holds
// for that, which takes seconds where it is much.
func (e *Engine) VolumesUsage(ctx context.Context, app string) ([]Volume, error) {
	for {
		usage, err := e.api.DiskUsage(ctx, types.DiskUsageOptions{Types: []types.DiskUsageObject{types.VolumeObject}})
		if err == nil {
			return e.caches(usage.Volumes, app), nil
		}
		// Older engines do not let two ask at a time.
		if !strings.Contains(err.Error(), "already running") || !sleep(ctx, 200*time.Millisecond) {
			return nil, fmt.Errorf("look at the size of volumes: %w", err)
		}
	}
}

// caches are those volumes that are caches of this instance, and of app unless it is "".
func (e *Engine) caches(all []*volume.Volume, app string) []Volume {
	var caches []Volume
	for _, v := range all {
		l := v.Labels
		if l[labelInstance] != e.cfg.Instance || l[labelKind] != kindCache || app != "" && l[labelApp] != app {
			continue
		}
		c := Volume{Name: v.Name, App: l[labelApp], Size: -1, Users: -1}
		c.Created, _ = time.Parse(time.RFC3339, v.CreatedAt) // zero where the engine does not say
		if v.UsageData != nil {
			c.Size, c.Users = v.UsageData.Size, int(v.UsageData.RefCount)
		}
		caches = append(caches, c)
	}
	slices.SortFunc(caches, func(a, b Volume) int { return strings.Compare(a.Name, b.Name) })
	return caches
}

// RemoveVolume removes a volume, or says that it is [ErrInUse]. That there is none is no
// error.
func (e *Engine) RemoveVolume(ctx context.Context, name string) error {
	err := e.api.VolumeRemove(ctx, name, true)
	if err == nil || errdefs.IsNotFound(err) {
		return nil
	}
	if errdefs.IsConflict(err) {
		err = fmt.Errorf("%w: %w", ErrInUse, err)
	}
	return fmt.Errorf("remove volume %s: %w", name, err)
}

// Keep bounds the caches of an instance. Zero means no bound.
type Keep struct {
	Age   time.Duration // since the last use
	Bytes int64         // in all; those used last stay as far as they fit
}

// SweepVolumes removes the caches that keep is too small for, but those in use, and
// returns them. The engine does not know when a volume was last used, so the caller
// tells; one that is not in used counts from its creation.
func (e *Engine) SweepVolumes(ctx context.Context, used map[string]time.Time, keep Keep) (removed []Volume, err error) {
	list := e.Volumes
	if keep.Bytes > 0 {
		list = e.VolumesUsage
	}
	all, err := list(ctx, "")
	if err != nil {
		return nil, err
	}
	for _, v := range keep.surplus(all, used, time.Now()) {
		switch one := e.RemoveVolume(ctx, v.Name); {
		case one == nil:
			removed = append(removed, v)
		case !errors.Is(one, ErrInUse):
			err = errors.Join(err, one)
		}
	}
	return removed, err
}

// surplus is what has to go.
func (k Keep) surplus(all []Volume, used map[string]time.Time, now time.Time) (surplus []Volume) {
	last := func(v Volume) time.Time {
		if at, ok := used[v.Name]; ok {
			return at
		}
		return v.Created
	}
	slices.SortStableFunc(all, func(a, b Volume) int { return last(b).Compare(last(a)) })
	var sum int64
	for _, v := range all {
		sum += max(v.Size, 0)
		old := k.Age > 0 && now.Sub(last(v)) > k.Age
		if v.Users > 0 || !old && (k.Bytes <= 0 || sum <= k.Bytes) {
			continue
		}
		sum -= max(v.Size, 0)
		surplus = append(surplus, v)
	}
	return surplus
}
