package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
)

// Import makes an image of a root file system, an uncompressed tar. Changes are
// Dockerfile instructions such as `CMD ["/bin/sh"]`.
func (e *Engine) Import(ctx context.Context, tag string, tar io.Reader, changes []string) error {
	progress, err := e.api.ImageImport(ctx, image.ImportSource{Source: tar, SourceName: "-"}, tag, image.ImportOptions{Changes: changes})
	if err == nil {
		err = drain(progress)
	}
	if err != nil {
		return fmt.Errorf("import image %s: %w", tag, err)
	}
	return nil
}

// Load reads a tar as [Engine.Save] writes it and returns the names in it.
func (e *Engine) Load(ctx context.Context, tar io.Reader) ([]string, error) {
	loaded, err := e.api.ImageLoad(ctx, tar)
	if err != nil {
		return nil, fmt.Errorf("load images: %w", err)
	}
	defer func() { _ = loaded.Body.Close() }()
	var names []string
	for in := json.NewDecoder(loaded.Body); ; {
		var message struct{ Stream, Error string }
		if err := in.Decode(&message); errors.Is(err, io.EOF) {
			return names, nil
		} else if err != nil {
			return names, fmt.Errorf("load images: %w", err)
		}
		if message.Error != "" {
			return names, fmt.Errorf("load images: %s", message.Error)
		}
		if _, name, ok := strings.Cut(message.Stream, "Loaded image: "); ok {
			names = append(names, strings.TrimSpace(name))
		}
	}
}

// Save is an image as `docker save` writes it. The caller closes it.
func (e *Engine) Save(ctx context.Context, ref string) (io.ReadCloser, error) {
	tar, err := e.api.ImageSave(ctx, []string{ref})
	if errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("save image: %w: %s", ErrNoImage, ref)
	}
	if err != nil {
		return nil, fmt.Errorf("save image %s: %w", ref, err)
	}
	return tar, nil
}

// Tag gives an image one more name.
func (e *Engine) Tag(ctx context.Context, ref, name string) error {
	if err := e.api.ImageTag(ctx, ref, name); err != nil {
		return fmt.Errorf("tag image %s as %s: %w", ref, name, err)
	}
	return nil
}

// RemoveImage removes a name of an image, and the image with its last name. That
// there is none is no error.
func (e *Engine) RemoveImage(ctx context.Context, ref string) error {
	if _, err := e.api.ImageRemove(ctx, ref, image.RemoveOptions{PruneChildren: true}); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove image %s: %w", ref, err)
	}
	return nil
}

// Images lists the names of the images that have a label, as key or key=value.
func (e *Engine) Images(ctx context.Context, label string) ([]string, error) {
	found, err := e.api.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("label", label))})
	if err != nil {
		return nil, fmt.Errorf("list images with label %s: %w", label, err)
	}
	var names []string
	for _, img := range found {
		for _, tag := range img.RepoTags {
			if tag != "<none>:<none>" {
				names = append(names, tag)
			}
		}
	}
	return names, nil
}
