package store

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Tag is a name for an image in its repository.
type Tag struct {
	Name  string
	Fixed bool // it is never moved, as that of a version
}

// Copy brings an image or an index of images from its name by digest to another
// repository, of this or another registry, unchanged and without a tag, and gives
// its name there. Within a registry no blob is sent, they are mounted where the
// registry does that. The error wraps [ErrMissing] where there is no such image.
func (s *Store) Copy(ctx context.Context, from, to string) (string, error) {
	source, err := s.byDigest(from)
	if err != nil {
		return "", err
	}
	repo, err := s.names.repository(to)
	if err != nil {
		return "", err
	}
	got, err := s.get(ctx, source)
	if err != nil {
		return "", fmt.Errorf("copy %s to %s: get it: %w", from, to, err)
	}
	bundles, err := ofDescriptor(got)
	if err != nil {
		return "", fmt.Errorf("copy %s to %s: get it: %w", from, to, s.explain(source.Context(), err))
	}
	if err := s.deliver(ctx, repo, bundles...); err != nil {
		return "", fmt.Errorf("copy %s to %s: %w", from, to, err)
	}
	return to + "@" + source.DigestStr(), nil
}

// CheckTags tells before work is done what [Store.Tag] would say after it: the
// error wraps [ErrTaken] where a fixed tag stands for another digest. The
// repository and the digest need not exist.
func (s *Store) CheckTags(ctx context.Context, repository, digest string, tags ...Tag) error {
	repo, err := s.names.repository(repository)
	if err != nil {
		return err
	}
	if _, err := s.changes(ctx, repo, digest, tags); err != nil {
		return fmt.Errorf("tags of %s: %w", repository, err)
	}
	return nil
}

// Tag gives an image, by digest, names in its repository. All are looked up before
// the first is written: where a fixed one stands for another image, the error
// wraps [ErrTaken] and nothing is written. What stands already is left.
//
// Registries have no way to look and write at once, so each tag is read back. Who
// tags at the same moment wins or loses; the loser's error wraps [ErrSwapped], and
// [ErrTaken] when it tries a fixed tag again.
func (s *Store) Tag(ctx context.Context, image string, tags ...Tag) error {
	r, err := s.byDigest(image)
	if err != nil {
		return err
	}
	changes, err := s.changes(ctx, r.Context(), r.DigestStr(), tags)
	if err != nil {
		return fmt.Errorf("tag %s: %w", image, err)
	}
	if len(changes) == 0 {
		return nil
	}
	got, err := s.get(ctx, r)
	if err != nil {
		return fmt.Errorf("tag %s: %w", image, err)
	}
	for _, tag := range changes {
		if err := s.tag(ctx, tag, got); err != nil {
			return fmt.Errorf("tag %s: as %s: %w", image, tag.TagStr(), err)
		}
	}
	return nil
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

// changes tells which tags do not stand for the digest yet.
func (s *Store) changes(ctx context.Context, repo name.Repository, digest string, tags []Tag) (missing []name.Tag, err error) {
	seen := map[string]bool{} // by name: whether it is fixed
	for _, t := range tags {
		seen[t.Name] = seen[t.Name] || t.Fixed
	}
	for _, t := range tags {
		fixed, ok := seen[t.Name]
		if !ok {
			continue // named twice
		}
		delete(seen, t.Name)
		tag, err := s.tagName(repo, t.Name)
		if err != nil {
			return nil, err
		}
		have, err := s.standsFor(ctx, tag, fixed)
		switch {
		case err != nil:
			return nil, fmt.Errorf("look up tag %s: %w", t.Name, err)
		case have != "" && have != digest && fixed:
			return nil, fmt.Errorf("%w: %s stands for %s, not for %s", ErrTaken, t.Name, have, digest)
		case have != digest:
			missing = append(missing, tag)
		}
	}
	return missing, nil
}

// StandsFor is the digest that a tag of a repository stands for; "" where there is no
// such tag, as far as the registry tells.
func (s *Store) StandsFor(ctx context.Context, repository, tag string) (string, error) {
	repo, err := s.names.repository(repository)
	if err != nil {
		return "", err
	}
	t, err := s.tagName(repo, tag)
	if err != nil {
		return "", err
	}
	digest, err := s.standsFor(ctx, t, false)
	if err != nil {
		return "", fmt.Errorf("look up tag %s of %s: %w", tag, repository, err)
	}
	return digest, nil
}

var tagName = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)

// ValidTag tells whether registries take it as a tag.
func ValidTag(tag string) bool { return tagName.MatchString(tag) }

func (s *Store) tagName(repo name.Repository, tag string) (name.Tag, error) {
	if !ValidTag(tag) {
		return name.Tag{}, fmt.Errorf("tag %.200q: a tag has letters, digits, '_', '.' and '-', at most 128", tag)
	}
	if strings.HasPrefix(tag, fallbackPrefix) {
		return name.Tag{}, fmt.Errorf("tag %.200q: what begins with %s is for attachments", tag, fallbackPrefix)
	}
	return name.NewTag(repo.Name()+":"+tag, s.names.options(repo.Name())...)
}

// standsFor is the digest that a tag stands for; "" where there is no such tag.
// Some registries say "forbidden" of what is not there. A fixed tag may be written
// only if it is certain that nothing is there, so then the list has to tell.
func (s *Store) standsFor(ctx context.Context, tag name.Tag, fixed bool) (string, error) {
	head, err := s.head(ctx, tag)
	if err == nil {
		return head.Digest.String(), nil
	}
	if errors.Is(err, ErrMissing) || forbidden(err) && !fixed {
		return "", nil
	}
	if !forbidden(err) {
		return "", err
	}
	there, listErr := s.tags(ctx, tag.Context())
	if listErr != nil && !errors.Is(listErr, ErrMissing) {
		return "", err
	}
	for _, t := range there {
		if t == tag.TagStr() {
			return "", err
		}
	}
	return "", nil
}

// tag writes a tag and looks what became of it.
func (s *Store) tag(ctx context.Context, tag name.Tag, got *remote.Descriptor) error {
	pusher, err := s.sender(1)
	if err != nil {
		return err
	}
	if err := pusher.Put(ctx, tag, got); err != nil {
		return s.explain(tag.Context(), err)
	}
	head, err := s.head(ctx, tag)
	if err != nil {
		return fmt.Errorf("read it back: %w", err)
	}
	if head.Digest != got.Digest {
		return fmt.Errorf("%w: it was set to %s and stands for %s", ErrSwapped, got.Digest, head.Digest)
	}
	return nil
}
