// Package image assembles release images without a daemon: a base and layers of
// files. What an engine built it makes reproducible, and it tells what is in an
// image.
//
// An image depends on nothing but its base, its files and its settings: assembled
// again, on another day and machine, it has the same digest. Layers of the base are
// taken as they are.
package image

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
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
	Healthcheck      *v1.HealthConfig // see [Healthcheck]
	Created          time.Time
}

// Scratch is the base that has nothing.
func Scratch() v1.Image {
	i := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	return mutate.ConfigMediaType(i, types.OCIConfigJSON)
}

// Assemble puts layers on base, the first one lowest. The layers have to stay open
// until the image was stored.
func Assemble(base v1.Image, layers []*Layer, s Settings) (v1.Image, error) {
	kind, err := base.MediaType()
	if err != nil {
		return nil, fmt.Errorf("read base image: %w", err)
	}
	created := v1.Time{Time: s.Created.UTC()}
	var adds []mutate.Addendum
	for _, l := range layers {
		adds = append(adds, mutate.Addendum{Layer: l, MediaType: layerType(kind), History: v1.History{Created: created, CreatedBy: "millrace"}})
	}
	out, err := mutate.Append(base, adds...)
	if err != nil {
		return nil, fmt.Errorf("add layers: %w", err)
	}
	config, err := out.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read base image: %w", err)
	}
	return s.configure(out, config.DeepCopy())
}

func layerType(image types.MediaType) types.MediaType {
	if image == types.DockerManifestSchema2 {
		return types.DockerLayer
	}
	return types.OCILayer
}

// configure gives an image its configuration, with the settings in it.
func (s Settings) configure(img v1.Image, config *v1.ConfigFile) (v1.Image, error) {
	out, err := mutate.ConfigFile(img, s.apply(config, v1.Time{Time: s.Created.UTC()}))
	if err != nil {
		return nil, fmt.Errorf("configure image: %w", err)
	}
	kind, err := out.MediaType()
	if err != nil {
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
	if s.Healthcheck != nil {
		run.Healthcheck = s.Healthcheck
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
