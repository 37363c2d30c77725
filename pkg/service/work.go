package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/snapshot"
	"github.com/millrace-cd/millrace/pkg/stage"
	"github.com/millrace-cd/millrace/pkg/step"
)

// Options are the worker's, as the settings have them.
func Options[In event.Event](k *Kit) stage.Options[In] {
	return stage.Options[In]{Worker: k.Worker, Slots: k.Concurrency, Grace: k.Grace, Tracer: k.Tracer, Log: k.Log}
}

// Source is where the stages find snapshots.
func (k *Kit) Source() snapshot.Source { return snapshot.Source{Store: k.Store, Trees: k.Trees} }

// Steps runs at most limit steps of a delivery at the same time; 0 means as many as the
// engine has cores, and two at least: more only get in each other's way.
func (k *Kit) Steps(limit int) *step.Runner {
	if limit <= 0 {
		limit = max(2, k.Engine.Info().CPUs)
	}
	return &step.Runner{
		Bus: k.Bus, Engine: k.Engine, Store: k.Store, Secrets: k.Secrets, Verdicts: k.Custody, Tracer: k.Tracer, Limit: limit, Worker: k.Worker, TempDir: k.TempDir(),
	}
}

// TempDir is on the file system of the data directory.
func (k *Kit) TempDir() string {
	dir := filepath.Join(k.DataDir, "tmp")
	_ = os.MkdirAll(dir, 0o700) // who writes there says what is wrong
	return dir
}

// inventoryDir has one directory for each way of looking: what an older program found may
// be less.
func (k *Kit) inventoryDir() string { return filepath.Join(k.DataDir, "inventory", "1") }

// ResolveAll finds images by the names in a pipeline file and pins them, for the
// whole delivery. That an image does not exist is the file's fault.
func (k *Kit) ResolveAll(ctx context.Context, refs []string) (map[string]container.Image, error) {
	pins := make(map[string]string, len(refs))
	for _, ref := range refs {
		pins[ref] = ref
	}
	return k.Resolve(ctx, pins, refs...)
}

// Resolve finds the images of refs by their pins, on the engine or in their
// registries.
func (k *Kit) Resolve(ctx context.Context, pins map[string]string, refs ...string) (map[string]container.Image, error) {
	images := make([]container.Image, len(refs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i, ref := range refs {
		g.Go(func() error {
			pin, ok := pins[ref]
			if !ok {
				return stage.Refuse("image %s was not resolved when the commit was tested", ref)
			}
			image, err := k.Engine.Resolve(ctx, pin, container.PullMissing)
			if errors.Is(err, container.ErrNoImage) && pin == ref {
				return stage.Fail("image %s: %w", ref, err)
			}
			if err != nil {
				return fmt.Errorf("image %s: %w", ref, err)
			}
			images[i] = image
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	found := make(map[string]container.Image, len(refs))
	for i, ref := range refs {
		found[ref] = images[i]
	}
	return found, nil
}

// Pull makes sure that the engine has an image, by digest.
func (k *Kit) Pull(ctx context.Context, image string) (container.Image, error) {
	ctx, span := k.Tracer.Start(ctx, "pull image")
	defer span.End()
	return k.Engine.Resolve(ctx, image, container.PullMissing)
}

// Pins are what an event keeps of resolved images.
func Pins(images map[string]container.Image) map[string]string {
	pins := make(map[string]string, len(images))
	for ref, image := range images {
		pins[ref] = image.Pinned
	}
	return pins
}
