package container

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/volume"
)

// CacheName is the name of an app's cache with a key, for a [Mount]. Another
// installation on the same engine has another one.
func (e *Engine) CacheName(app, key string) string {
	sum := sha256.Sum256([]byte(key))
	return "millrace-cache-" + e.cfg.Instance + "-" + app + "-" + hex.EncodeToString(sum[:8])
}

// cacheLabels mark the caches of an app. They have no owner but the instance.
func cacheLabels(instance, app string) map[string]string {
	return Owner{App: app}.labels(instance, "", kindCache)
}

// makeCaches makes the caches among mounts that the engine does not have.
func (s *Session) makeCaches(ctx context.Context, mounts []Mount) error {
	for _, m := range mounts {
		if m.Volume == "" {
			continue
		}
		if err := s.makeCache(ctx, m.Volume); err != nil {
			return fmt.Errorf("make cache %s: %w", m.Volume, err)
		}
	}
	return nil
}

func (s *Session) makeCache(ctx context.Context, name string) error {
	_, err := s.e.api.VolumeInspect(ctx, name)
	if err == nil || !errdefs.IsNotFound(err) {
		return err
	}
	_, err = s.e.api.VolumeCreate(ctx, volume.CreateOptions{Name: name, Labels: cacheLabels(s.e.cfg.Instance, s.owner.App)})
	if err == nil {
		err = s.unlock(ctx, name)
	}
	if err != nil {
		return errors.Join(err, s.e.RemoveVolume(ctx, name)) // or it would stay locked
	}
	return nil
}

// unlock lets any user write to a fresh volume, which only root may at first. What is
// copied into a container that never starts goes to its volumes; so no program of an
// image is needed.
func (s *Session) unlock(ctx context.Context, name string) error {
	if err := s.e.ensurePause(ctx); err != nil {
		return err
	}
	p := s.place(0)
	host := hardened(Limits{}, false, p.machine)
	host.NetworkMode = "none"
	host.Mounts = []mount.Mount{{Type: mount.TypeVolume, Source: name, Target: "/cache", VolumeOptions: &mount.VolumeOptions{NoCopy: true}}}
	id, err := s.e.create(ctx, objectName("cache", s.owner.App), &container.Config{Image: pauseImage, Labels: p.labels(kindStep)}, host, nil)
	if err != nil {
		return err
	}
	var open bytes.Buffer
	w := tar.NewWriter(&open)
	err = errors.Join(w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "cache/", Mode: 0o777, Format: tar.FormatUSTAR}), w.Close())
	if err == nil {
		err = s.e.api.CopyToContainer(ctx, id, "/", &open, container.CopyToContainerOptions{})
	}
	return errors.Join(err, s.e.remove(ctx, id))
}
