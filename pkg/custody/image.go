package custody

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/millrace-cd/millrace/pkg/attest"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/store"
)

// Library is a registry from which statements are read.
type Library interface {
	Attached(ctx context.Context, subject, artifactType string) ([]store.Attached, error)
	Layers(ctx context.Context, repository, digest string, limit int64) ([]store.Layer, error)
}

// Image is what is verified.
type Image struct {
	Name string // repository@sha256:…, where it is
	As   string // repository that it was released as; "" = the one where it is
	Tag  string // that it was found by; "" for none
}

// WalkImage verifies an image by what is attached to it where it is. An image that was
// released more than once has the newest delivery's chain of those that hold. Where none
// holds the error wraps [ErrBroken].
//
// That a tag stands for this image and not for another one that it was given to as well is
// the registry's word alone.
func WalkImage(ctx context.Context, from Library, ring attest.Ring, at time.Time, i Image) ([]Link, error) {
	repository, digest, ok := strings.Cut(i.Name, "@")
	if !ok {
		return nil, fmt.Errorf("image %.200q is not named by digest", i.Name)
	}
	released, err := bundles(ctx, from, i.Name, attest.BundleType)
	if err != nil {
		return nil, err
	}
	earlier, err := bundles(ctx, from, i.Name, ChainType)
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
	i.As = cmp.Or(i.As, repository)
	return w.newest(ctx, released, i, digest)
}

// names makes sure that the statement is about the image under this name.
func (i Image) names(l Link) error {
	if name := l.Statement.Subject[0].Name; name != i.As {
		return broken(l.Service, fmt.Errorf("the image was released as %.200s, not as %s", name, i.As))
	}
	if i.Tag != "" && !slices.Contains(l.tags, i.Tag) {
		return broken(l.Service, fmt.Errorf("it was not to be tagged %.80s", i.Tag))
	}
	return nil
}

// newest is the chain of the newest delivery that holds.
func (w Walker) newest(ctx context.Context, released map[string][]byte, i Image, digest string) (best []Link, err error) {
	var errs []error
	for _, bundle := range slices.Sorted(maps.Keys(released)) {
		links, err := w.Walk(ctx, Releaser, bundle, digest)
		if err == nil {
			err = i.names(links[0])
		}
		switch {
		case err != nil:
			errs = append(errs, err)
		case best == nil || links[0].Delivery.After(best[0].Delivery):
			best = links
		}
	}
	if best != nil {
		return best, nil
	}
	return nil, errors.Join(errs[:min(len(errs), maxReasons)]...)
}

const (
	maxReasons = 5
	maxBundles = 100 // that are read, the newest deliveries' first as far as the registry tells
	maxBytes   = 64 << 20

	orderAnnotation = "com.github.millrace-cd.millrace.accepted"
)

// inOrder annotates what is attached, so that the newest can be found among many.
func inOrder(c event.Commit) map[string]string {
	return map[string]string{orderAnnotation: c.Accepted.UTC().Format("2006-01-02T15:04:05.000000000Z")}
}

// bundles are the bundles in attachments of a type, by digest. What else is attached as
// one, and is none, is nobody's statement.
func bundles(ctx context.Context, from Library, image, artifactType string) (map[string][]byte, error) {
	repository, _, _ := strings.Cut(image, "@")
	attached, err := from.Attached(ctx, image, artifactType)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(attached, func(a, b store.Attached) int {
		return strings.Compare(b.Annotations[orderAnnotation], a.Annotations[orderAnnotation])
	})
	found, size := map[string][]byte{}, 0
	for _, a := range attached[:min(len(attached), maxBundles)] {
		layers, err := from.Layers(ctx, repository, a.Digest, attest.MaxBundle)
		if errors.Is(err, store.ErrMissing) || errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrTooLarge) {
			continue // the walk says what it lacks
		}
		if err != nil {
			return nil, err
		}
		for _, l := range layers {
			if size += len(l.Data); l.Type == attest.BundleType && size <= maxBytes {
				found[DigestOf(l.Data)] = l.Data
			}
		}
	}
	return found, nil
}
