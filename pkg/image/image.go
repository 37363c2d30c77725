// Package image assembles release images without a daemon: a base and one layer of
// files.
//
// The image depends on nothing but its base, its files and its settings: assembled
// again, on another day and machine, it has the same digest. Layers of the base are
// taken as they are.
package image

import (
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Settings are how a container of the image is run, and what the image says of
// itself. What is empty stays as the base has it.
type Settings struct {
	OS, Architecture string // of an image from scratch
	User             string
	Workdir          string
	Entrypoint       []string
	Command          []string
	Ports            []int // TCP
	Env              map[string]string
	Labels           map[string]string // on the image's configuration and, as annotations, on its manifest
	Volumes          []string
	Created          time.Time
}

// Scratch is the base that has nothing.
func Scratch() v1.Image {
	i := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	return mutate.ConfigMediaType(i, types.OCIConfigJSON)
}

// Assemble puts a layer on base. Layer opens its tar, which has to give the same
// bytes each time.
func Assemble(base v1.Image, layer func() (io.ReadCloser, error), s Settings) (v1.Image, error) {
	kind, err := base.MediaType()
	if err != nil {
		return nil, fmt.Errorf("read base image: %w", err)
	}
	layerType := types.OCILayer
	if kind == types.DockerManifestSchema2 {
		layerType = types.DockerLayer
	}
	// Level 1 takes a third of the default's time and is read by every engine.
	files, err := tarball.LayerFromOpener(layer, tarball.WithCompressionLevel(gzip.BestSpeed), tarball.WithMediaType(layerType))
	if err != nil {
		return nil, fmt.Errorf("pack layer: %w", err)
	}
	created := v1.Time{Time: s.Created.UTC()}
	out, err := mutate.Append(base, mutate.Addendum{Layer: files, MediaType: layerType, History: v1.History{Created: created, CreatedBy: "millrace"}})
	if err != nil {
		return nil, fmt.Errorf("add layer: %w", err)
	}
	config, err := out.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read base image: %w", err)
	}
	if out, err = mutate.ConfigFile(out, s.apply(config.DeepCopy(), created)); err != nil {
		return nil, fmt.Errorf("configure image: %w", err)
	}
	if kind == types.DockerManifestSchema2 || len(s.Labels) == 0 {
		return out, nil // only OCI manifests have annotations
	}
	return mutate.Annotations(out, s.Labels).(v1.Image), nil
}

// apply writes the settings into the image's configuration.
func (s Settings) apply(c *v1.ConfigFile, created v1.Time) *v1.ConfigFile {
	c.Created = created
	if c.OS == "" {
		c.OS, c.Architecture = s.OS, s.Architecture
	}
	run := &c.Config
	set(&run.User, s.User)
	set(&run.WorkingDir, s.Workdir)
	if len(s.Entrypoint) > 0 {
		run.Entrypoint, run.Cmd = s.Entrypoint, nil // the base's arguments are for the base's entrypoint
	}
	if len(s.Command) > 0 {
		run.Cmd = s.Command
	}
	for _, p := range s.Ports {
		put(&run.ExposedPorts, strconv.Itoa(p)+"/tcp", struct{}{})
	}
	for _, v := range s.Volumes {
		put(&run.Volumes, v, struct{}{})
	}
	for k, v := range s.Labels {
		put(&run.Labels, k, v)
	}
	run.Env = mergeEnv(run.Env, s.Env)
	return c
}

func set(to *string, value string) {
	if value != "" {
		*to = value
	}
}

func put[V any](m *map[string]V, key string, value V) {
	if *m == nil {
		*m = map[string]V{}
	}
	(*m)[key] = value
}

// mergeEnv puts more into env, in place where a name is there and sorted at the end
// where it is not.
func mergeEnv(env []string, more map[string]string) []string {
	env, more = slices.Clone(env), maps.Clone(more)
	for i, e := range env {
		for k, v := range more {
			if len(e) > len(k) && e[:len(k)+1] == k+"=" {
				env[i] = k + "=" + v
				delete(more, k)
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(more)) {
		env = append(env, k+"="+more[k])
	}
	return env
}
