package releaser

import (
	"context"
	"errors"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/millrace-cd/millrace/pkg/archive"
	"github.com/millrace-cd/millrace/pkg/image"
	"github.com/millrace-cd/millrace/pkg/pipeline"
	"github.com/millrace-cd/millrace/pkg/stage"
)

// judged is the image with a HEALTHCHECK that asks what the file calls ready, if it can,
// and if it is not too large.
func (m *making) judged(ctx context.Context, t target, img v1.Image) (v1.Image, error) {
	probe := m.probe()
	if probe == nil && m.release.MaxSize == 0 {
		return img, nil
	}
	found, err := m.surveyor.Survey(ctx, img)
	switch {
	case errors.Is(err, archive.ErrRefused) && m.release.MaxSize == 0:
		m.unhealthy(t, err.Error())
		return img, nil
	case errors.Is(err, archive.ErrRefused):
		return nil, stage.Fail("release.max_size: %w", err)
	case err != nil:
		return nil, err
	}
	if err := fits(found, m.release.MaxSize); err != nil || probe == nil {
		return img, err
	}
	check, reason := image.Healthcheck(*probe, found.Has)
	if reason != "" {
		m.unhealthy(t, reason)
		return img, nil
	}
	return image.Assemble(img, nil, image.Settings{Healthcheck: check, Created: m.built.Time})
}

// probe is what the image could say of its health; nil where no image could.
func (m *making) probe() *image.Probe {
	if m.release.Ready == nil {
		return nil
	}
	p := probeOf(*m.release.Ready)
	if _, reason := image.Healthcheck(p, func(string) bool { return true }); reason != "" {
		m.unhealthy(target{platform: m.own()}, reason)
		return nil
	}
	return &p
}

func probeOf(p pipeline.Probe) image.Probe {
	return image.Probe{HTTP: p.HTTP, Status: p.Status, TCP: p.TCP, Run: p.Run, Every: p.Every, Within: p.Within}
}

// unhealthy tells why an image has no HEALTHCHECK of ours.
func (m *making) unhealthy(t target, reason string) {
	m.kit.Log.Info("image without a health check", "app", m.built.App, "delivery", m.built.Number, "platform", t.platform, "reason", reason)
}

// fits makes sure that an image is not larger than limit; 0 means none.
func fits(found image.Survey, limit int64) error {
	if limit == 0 || found.Bytes <= limit {
		return nil
	}
	var largest strings.Builder
	for _, f := range found.Largest {
		fmt.Fprintf(&largest, "\n  %10s  /%.200s", readable(f.Size), f.Path)
	}
	return stage.Fail("the image has %s of files, and release.max_size is %s; the largest are:%s", readable(found.Bytes), readable(limit), largest.String())
}

// readable is a number of bytes for people.
func readable(bytes int64) string {
	units := []string{"bytes", "KiB", "MiB", "GiB"}
	n, unit := float64(bytes), 0
	for n >= 1024 && unit < len(units)-1 {
		n, unit = n/1024, unit+1
	}
	return strings.Replace(fmt.Sprintf("%.1f %s", n, units[unit]), ".0 ", " ", 1)
}
