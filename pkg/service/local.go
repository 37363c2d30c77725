package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// LocalImage reads an image that only the engine has, by its id (sha256:…). It is
// kept in the data directory, since layers are read more than once.
func (k *Kit) LocalImage(ctx context.Context, id string) (v1.Image, error) {
	path := k.imageFile(id)
	if _, err := os.Stat(path); err != nil {
		if err := k.save(ctx, id, path); err != nil {
			return nil, fmt.Errorf("image %s has no registry, and the engine does not give it: %w", id, err)
		}
	}
	img, err := tarball.ImageFromPath(path, nil)
	if err != nil {
		return nil, fmt.Errorf("read image %s: %w", id, err)
	}
	return img, nil
}

// ForgetImage removes what [Kit.LocalImage] keeps of an image that will not be asked for
// again. Nobody may read it any more.
func (k *Kit) ForgetImage(id string) { _ = os.Remove(k.imageFile(id)) } // else it is swept

func (k *Kit) imageFile(id string) string {
	return filepath.Join(k.imageDir(), strings.TrimPrefix(id, "sha256:")+".tar")
}

func (k *Kit) imageDir() string { return filepath.Join(k.DataDir, "images") }

// save writes the image as the engine exports it; whole or not at all.
func (k *Kit) save(ctx context.Context, id, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	in, err := k.Engine.Save(ctx, id)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.CreateTemp(filepath.Dir(path), "save-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(out.Name()) }() // in vain where it was renamed
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), path)
}
