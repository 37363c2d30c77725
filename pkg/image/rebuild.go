package image

import (
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Rebuilt is an image whose layers are in memory and temporary files until it is
// closed.
type Rebuilt struct {
	v1.Image

	layers []*Layer
}

// Close frees what the layers take up. The image cannot be read after that.
func (r *Rebuilt) Close() error {
	var err error
	for _, l := range r.layers {
		err = errors.Join(err, l.Close())
	}
	return err
}

// Rebuild makes an image that an engine built reproducible. Layers that are base's
// are taken from it, so that they are mounted where it comes from; the others are
// normalized, without what the engine put there, and with times up to s.Created. base
// is nil where it is not known. Temporary files are in dir ("" = the system's). The
// error wraps [archive.ErrRefused] where the image is to blame.
func Rebuild(dir string, img, base v1.Image, s Settings) (*Rebuilt, error) {
	b := &rebuilding{dir: dir, settings: s, out: &Rebuilt{}}
	if err := b.run(img, base); err != nil {
		return nil, errors.Join(fmt.Errorf("make image reproducible: %w", err), b.out.Close())
	}
	return b.out, nil
}

type rebuilding struct {
	dir      string
	settings Settings
	out      *Rebuilt
}

func (b *rebuilding) run(img, base v1.Image) error {
	config, err := img.ConfigFile()
	if err != nil {
		return err
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	if len(layers) > maxLayers {
		return fmt.Errorf("%w: %d layers, no engine runs more than %d", errRefused, len(layers), maxLayers)
	}
	if base == nil {
		base = Scratch()
	}
	kind, err := base.MediaType()
	if err != nil {
		return err
	}
	adds, err := b.layers(layers, base, kind)
	if err != nil {
		return err
	}
	out, err := mutate.Append(blank(kind), adds...)
	if err != nil {
		return err
	}
	if config, err = b.config(config.DeepCopy(), base, out); err != nil {
		return err
	}
	b.out.Image, err = b.settings.configure(out, config)
	return err
}

// maxLayers is what overlay file systems can stack.
const maxLayers = 127

// blank is an image of a format without anything.
func blank(kind types.MediaType) v1.Image {
	if kind == types.DockerManifestSchema2 {
		return empty.Image
	}
	return Scratch()
}

// layers takes base's layers from it and makes the others anew.
func (b *rebuilding) layers(layers []v1.Layer, base v1.Image, kind types.MediaType) (adds []mutate.Addendum, err error) {
	known, err := byDiffID(base)
	if err != nil {
		return nil, err
	}
	for _, l := range layers {
		diffID, err := l.DiffID()
		if err != nil {
			return nil, err
		}
		if same, ok := known[diffID]; ok {
			adds = append(adds, same)
			continue
		}
		made, err := b.layer(l)
		if err != nil {
			return nil, err
		}
		b.out.layers = append(b.out.layers, made)
		adds = append(adds, mutate.Addendum{Layer: made, MediaType: layerType(kind)})
	}
	return adds, nil
}

// byDiffID are the layers of an image as its manifest describes them.
func byDiffID(img v1.Image) (map[v1.Hash]mutate.Addendum, error) {
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	m, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	known := map[v1.Hash]mutate.Addendum{}
	for i, l := range layers[:min(len(layers), len(m.Layers))] {
		diffID, err := l.DiffID()
		if err != nil {
			return nil, err
		}
		known[diffID] = mutate.Addendum{Layer: l, MediaType: m.Layers[i].MediaType, URLs: m.Layers[i].URLs}
	}
	return known, nil
}

func (b *rebuilding) layer(l v1.Layer) (*Layer, error) {
	r, err := l.Uncompressed()
	if err != nil {
		return nil, err
	}
	made, err := compress(b.dir, keptOfMany, func(w io.Writer) error {
		return Normalize(w, r, Options{Created: b.settings.Created, Drop: EngineOwned, Dir: b.dir})
	})
	if err = errors.Join(err, r.Close()); err != nil && made != nil {
		return nil, errors.Join(err, made.Close())
	}
	return made, err
}

// config drops what is the engine's, and all times but base's.
func (b *rebuilding) config(c *v1.ConfigFile, base, out v1.Image) (*v1.ConfigFile, error) {
	before, err := base.ConfigFile()
	if err != nil {
		return nil, err
	}
	now, err := out.ConfigFile()
	if err != nil {
		return nil, err
	}
	c.Container, c.DockerVersion, c.RootFS = "", "", now.RootFS //nolint:staticcheck // the field is deprecated, engines fill it in
	run := &c.Config
	run.Hostname, run.Domainname, run.Image, run.MacAddress = "", "", "", ""
	run.AttachStdin, run.AttachStdout, run.AttachStderr, run.OpenStdin, run.StdinOnce, run.Tty = false, false, false, false, false, false
	c.History = b.history(c.History, before.History, len(now.RootFS.DiffIDs))
	return c, nil
}

// history has one entry for each layer, as engines want it, beside those for none.
func (b *rebuilding) history(history, before []v1.History, layers int) []v1.History {
	created, filled, same := v1.Time{Time: b.settings.Created.UTC()}, 0, true
	for i := range history {
		h := &history[i]
		if !h.EmptyLayer {
			filled++
		}
		if same = same && i < len(before) && h.CreatedBy == before[i].CreatedBy && h.EmptyLayer == before[i].EmptyLayer; same {
			*h = before[i]
			continue
		}
		h.Created = created
	}
	if filled == layers {
		return history
	}
	history = nil
	for range layers {
		history = append(history, v1.History{Created: created, CreatedBy: "millrace"})
	}
	return history
}
