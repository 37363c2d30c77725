package embedded

import (
	"context"
	"errors"
	"strings"
)

// Purge removes from the engine what this Millrace made: deployed containers, the
// leftovers of stages, caches, networks, and the images of its registry. It stops
// the services first.
func (e *Embedded) Purge(ctx context.Context) error {
	return errors.Join(e.Stop(ctx), e.Engine.Purge(ctx), e.purgeImages(ctx))
}

// purgeImages removes what was pulled from the registry, which ends with us.
func (e *Embedded) purgeImages(ctx context.Context) error {
	if e.Registry == "" {
		return nil
	}
	refs, err := e.Engine.ImagesNamed(ctx, e.Registry+"/")
	if err != nil {
		return err
	}
	var errs []error
	for _, ref := range refs {
		if strings.HasPrefix(ref, e.Registry+"/") {
			errs = append(errs, e.Engine.RemoveImage(ctx, ref))
		}
	}
	return errors.Join(errs...)
}
