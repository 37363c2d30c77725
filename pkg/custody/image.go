package custody

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millrace-cd/millrace/pkg/attest"
	"github.com/millrace-cd/millrace/pkg/store"
)

// Library is a registry from which statements are read.
type Library interface {
	Attached(ctx context.Context, subject, artifactType string) ([]store.Attached, error)
	Layers(ctx context.Context, repository, digest string) ([]store.Layer, error)
}

// WalkImage verifies an image, name@sha256:…, by what is attached to it where it is
// published. An image that was released more than once has the newest delivery's chain
// of those that hold. Where none holds the error wraps [ErrBroken].
func WalkImage(ctx context.Context, from Library, ring attest.Ring, at time.Time, image string) ([]Link, error) {
	repository, digest, ok := strings.Cut(image, "@")
	if !ok {
		return nil, fmt.Errorf("image %.200q is not named by digest", image)
	}
	released, err := bundles(ctx, from, image, attest.BundleType)
	if err != nil {
		return nil, err
	}
	earlier, err := bundles(ctx, from, image, ChainType)
	if err != nil {
		return nil, err
	}
	if len(released) == 0 {
		return nil, fmt.Errorf("%w: nothing that is attached to the image in %s says where it comes from", ErrBroken, repository)
	}
	w := Walker{Ring: ring, At: at, Bundle: func(_ context.Context, service, wanted string) ([]byte, error) {
		if data, ok := earlier[wanted]; ok {
			return data, nil
		}
		if data, ok := released[wanted]; ok && service == Releaser {
			return data, nil
		}
		return nil, broken(service, fmt.Errorf("it is not attached to the image: %.80s", wanted))
	}}
	return w.newest(ctx, released, digest)
}

// newest is the chain of the newest delivery that holds.
func (w Walker) newest(ctx context.Context, released map[string][]byte, digest string) (best []Link, err error) {
	var errs []error
	for bundle := range released {
		links, err := w.Walk(ctx, Releaser, bundle, digest)
		switch {
		case err != nil:
			errs = append(errs, err)
		case best == nil || newer(links[0].Delivery, best[0].Delivery):
			best = links
		}
	}
	if best != nil {
		return best, nil
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return nil, errors.Join(errs...)
}

func newer(a, b Delivery) bool {
	return cmp.Or(a.Accepted.Compare(b.Accepted), cmp.Compare(a.Number, b.Number)) > 0
}

// bundles are the bundles in all attachments of a type, by digest. What else is attached
// as one, and is none, is nobody's statement.
func bundles(ctx context.Context, from Library, image, artifactType string) (map[string][]byte, error) {
	repository, _, _ := strings.Cut(image, "@")
	attached, err := from.Attached(ctx, image, artifactType)
	if err != nil {
		return nil, err
	}
	found := map[string][]byte{}
	for _, a := range attached {
		layers, err := from.Layers(ctx, repository, a.Digest)
		if errors.Is(err, store.ErrMissing) || errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrTooLarge) {
			continue // the walk says what it lacks
		}
		if err != nil {
			return nil, err
		}
		for _, l := range layers {
			if l.Type == attest.BundleType {
				found[DigestOf(l.Data)] = l.Data
			}
		}
	}
	return found, nil
}
