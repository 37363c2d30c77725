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

// Reap removes the containers, networks, volumes and images of this instance that were made
// by processes which are not live, as live tells of their names ([Config.Process]).
// What this very process made and still uses is live; deployed apps and caches stay.
// Live is asked after an object was seen, so a process that says that it lives before
// it makes anything is safe, if live looks each time.
// It returns how many objects it removed; the error joins those of what could not be
// removed.
func (e *Engine) Reap(ctx context.Context, live func(process string) bool) (int, error) {
	r := reaper{e: e, live: live, filter: container.ListOptions{All: true, Filters: labelled(labelInstance, e.cfg.Instance)}}
	r.containers(ctx) // first: they hold the others
	r.networks(ctx)
	r.volumes(ctx)
	r.images(ctx)
	return r.removed, errors.Join(r.errs...)
}

type reaper struct {
	e       *Engine
	live    func(process string) bool
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

// images removes those that were made of containers of steps, and by builds.
func (r *reaper) images(ctx context.Context) {
	found, err := r.e.api.ImageList(ctx, image.ListOptions{All: true, Filters: r.filter.Filters})
	r.note(err)
	var orphans []string
	for _, i := range found {
		if kind := i.Labels[labelKind]; (kind == kindStep || kind == kindBuild) && r.orphan(i.Labels) {
			orphans = append(orphans, i.ID)
		}
	}
	r.note(r.e.removeImages(ctx, orphans))
	r.removed += len(orphans) // or the error tells
}

// orphan tells whether nobody uses what has these labels.
func (r *reaper) orphan(labels map[string]string) bool {
	if labels[labelInstance] != r.e.cfg.Instance || labels[labelStage] == stageDeploy {
		return false
	}
	switch labels[labelKind] {
	case kindApp, kindCache:
		return false
	}
	process, session, _ := strings.Cut(labels[labelSession], processEnd)
	if process != r.e.cfg.Process {
		return !r.live(process)
	}
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	return session != spareSession && r.e.sessions[labels[labelSession]] == nil
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
