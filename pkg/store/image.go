package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Image reads an image of any registry, for linux and this machine's
// architecture where there are several. Layers are fetched when they are read,
// under ctx, and not at all when the image is pushed to the registry that has
// them. The error wraps [ErrMissing] where there is no such image.
func (s *Store) Image(ctx context.Context, ref string) (v1.Image, error) {
	r, err := s.names.reference(ref)
	if err != nil {
		return nil, err
	}
	got, err := s.puller.Get(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("get image %s: %w", ref, explain(err))
	}
	img, err := got.Image()
	if err != nil {
		return nil, fmt.Errorf("get image %s: %w", ref, explain(err))
	}
	return img, nil
}

// PushImage stores an image of an app, without a tag, and gives its public name
// by digest. Blobs that come from a repository of the registry are mounted.
func (s *Store) PushImage(ctx context.Context, app string, img v1.Image) (string, error) {
	repo, err := s.internal(app, Image)
	if err != nil {
		return "", err
	}
	digest, err := img.Digest()
	if err != nil {
		return "", fmt.Errorf("digest of image: %w", err)
	}
	r, public := repo.Digest(digest.String()), s.Repository(app, Image)
	if err := s.push(ctx, r, func(p *remote.Pusher) error { return p.Push(ctx, r, img) }); err != nil {
		return "", fmt.Errorf("store image %s in %s: %w", digest, public, err)
	}
	return public + "@" + digest.String(), nil
}

// Publish brings an image from its name by digest to another repository, of this
// or another registry, unchanged, and then tags it there. Within a registry no
// blob is sent, they are mounted.
//
// A tag that stands for another image is moved if move is true, or else the error
// wraps [ErrTaken] and nothing is written. Registries have no way to do both at
// once: who tags at the same moment wins or loses.
func (s *Store) Publish(ctx context.Context, from, to string, tags []string, move bool) (string, error) {
	source, err := s.byDigest(from)
	if err != nil {
		return "", err
	}
	repo, err := s.names.repository(to)
	if err != nil {
		return "", err
	}
	missing, err := s.check(ctx, repo, tags, source.DigestStr(), move)
	if err != nil {
		return "", fmt.Errorf("publish %s: %w", to, err)
	}
	got, err := s.puller.Get(ctx, source)
	if err != nil {
		return "", fmt.Errorf("publish %s: get %s: %w", to, from, explain(err))
	}
	target := repo.Digest(source.DigestStr())
	if err := s.push(ctx, target, func(p *remote.Pusher) error { return p.Push(ctx, target, got) }); err != nil {
		return "", fmt.Errorf("publish %s: %w", to, err)
	}
	for _, tag := range missing {
		if err := s.tag(ctx, tag, got); err != nil {
			return "", fmt.Errorf("publish %s: %w", to, err)
		}
	}
	return to + "@" + source.DigestStr(), nil
}

func (s *Store) byDigest(ref string) (name.Digest, error) {
	r, err := s.names.reference(ref)
	if err != nil {
		return name.Digest{}, err
	}
	d, ok := r.(name.Digest)
	if !ok {
		return name.Digest{}, fmt.Errorf("image %.200q is not named by digest", ref)
	}
	return d, nil
}

// check tells which tags do not stand for the digest yet.
func (s *Store) check(ctx context.Context, repo name.Repository, tags []string, digest string, move bool) (missing []name.Tag, err error) {
	for _, t := range tags {
		tag, err := name.NewTag(repo.Name()+":"+t, s.names.options(repo.Name())...)
		if err != nil {
			return nil, fmt.Errorf("tag %.200q: %w", t, err)
		}
		have, err := s.digest(ctx, tag)
		switch {
		case errors.Is(err, ErrMissing) || err != nil && forbidden(err):
			missing = append(missing, tag)
		case err != nil:
			return nil, fmt.Errorf("look up tag %s: %w", t, err)
		case have.String() != digest && !move:
			return nil, fmt.Errorf("%w: %s stands for %s, not for %s", ErrTaken, t, have, digest)
		case have.String() != digest:
			missing = append(missing, tag)
		}
	}
	return missing, nil
}

func (s *Store) tag(ctx context.Context, tag name.Tag, got *remote.Descriptor) error {
	pusher, err := s.sender(1)
	if err != nil {
		return err
	}
	if err := pusher.Put(ctx, tag, got); err != nil {
		return fmt.Errorf("tag %s: %w", tag.TagStr(), explain(err))
	}
	return nil
}
