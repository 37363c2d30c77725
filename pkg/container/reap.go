package container

import (
	"context"
	"errors"
	"fmt"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
)

// Reap removes the containers, networks and volumes of this instance whose owner
// is not live. What an open session of this engine owns is live; live, which may
// be nil, tells of other owners. Deployed apps and caches stay. It returns how many
// objects it removed; the error joins those of what could not be removed.
func (e *Engine) Reap(ctx context.Context, live func(Owner) bool) (int, error) {
	r := reaper{e: e, live: live, filter: container.ListOptions{All: true, Filters: labelled(labelInstance, e.cfg.Instance)}}
	r.containers(ctx) // first: they hold the others
	r.networks(ctx)
	r.volumes(ctx)
	return r.removed, errors.Join(r.errs...)
}

type reaper struct {
	e       *Engine
	live    func(Owner) bool
	filter  container.ListOptions
	removed int
	errs    []error
}

func (r *reaper) containers(ctx context.Context) {
	found, err := r.e.api.ContainerList(ctx, r.filter)
	r.note(err)
	for _, c := range found {
		if !r.e.pool.knows(c.ID) && r.orphan(c.Labels) {
			r.count(r.e.remove(ctx, c.ID))
		}
	}
}

func (r *reaper) networks(ctx context.Context) {
	found, err := r.e.api.NetworkList(ctx, network.ListOptions{Filters: r.filter.Filters})
	r.note(err)
	for _, n := range found {
		if r.orphan(n.Labels) {
			r.count(r.e.removeNetwork(ctx, n.ID))
		}
	}
}

func (r *reaper) volumes(ctx context.Context) {
	found, err := r.e.api.VolumeList(ctx, volume.ListOptions{Filters: r.filter.Filters})
	r.note(err)
	for _, v := range found.Volumes {
		if r.orphan(v.Labels) {
			r.count(r.e.RemoveVolume(ctx, v.Name))
		}
	}
}

// orphan tells whether nobody owns what has these labels.
func (r *reaper) orphan(labels map[string]string) bool {
	if labels[labelInstance] != r.e.cfg.Instance || labels[labelStage] == stageDeploy {
		return false
	}
	switch labels[labelKind] {
	case kindApp, kindCache, kindOutside:
		return false
	}
	r.e.mu.Lock()
	open := r.e.sessions[labels[labelSession]] != nil
	r.e.mu.Unlock()
	if open {
		return false
	}
	owner := ownerOf(labels)
	return r.live == nil || owner == (Owner{}) || !r.live(owner)
}

func (r *reaper) note(err error) {
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("reap: %w", err))
	}
}

func (r *reaper) count(err error) {
	if err == nil {
		r.removed++
	}
	r.note(err)
}
