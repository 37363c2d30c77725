package step

import (
	"context"
	"fmt"

	"github.com/millrace-cd/millrace/pkg/container"
)

// cache chooses the volumes in which the step keeps directories from one delivery to
// the next: one of the app's for each path and content of the key's files. An untrusted
// commit has none, so that it leaves nothing that a trusted one would use.
func (w *work) cache(ctx context.Context, o *one) error {
	if w.Commit.Untrusted {
		return nil
	}
	for _, c := range o.spec.Cache {
		key := ""
		if len(c.Key) > 0 {
			var err error
			if key, err = w.digestFiles(ctx, c.Key); err != nil {
				return fmt.Errorf("step %s: cache %s: key: %w", o.name, c.Path, err)
			}
		}
		name := w.Engine.CacheName(w.Owner.App, c.Path+"\n"+key)
		o.caches = append(o.caches, container.Mount{Target: c.Path, Volume: name})
		if err := w.Bus.UsedCache(ctx, name); err != nil {
			return fmt.Errorf("step %s: %w", o.name, err)
		}
	}
	return nil
}
