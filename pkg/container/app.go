package container

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/strslice"
	"github.com/docker/go-connections/nat"
)

// App is a container that is deployed: it outlives the process that starts it and
// is never reaped.
type App struct {
	Name  string // of the container
	Owner Owner  // its Stage is always deploy

	Image      string
	Entrypoint []string
	Command    []string // both as the image has them when empty
	Env        map[string]string
	User       string
	Labels     map[string]string // more of them; ours win

	// Publish are ports as "80:8080", "127.0.0.1:8080:8080", or "8080" for a free
	// port of the host, each with /udp if need be.
	Publish []string
	Network string // made if absent; "" means the engine's own bridge
	Aliases []string

	Mounts  []Mount // no overlays
	Limits  Limits  // zero means none, but for Pids
	Restart string  // no, always, on-failure or unless-stopped, which is the default
}

// ErrPortTaken says that a port of the host is in use.
var ErrPortTaken = errors.New("port is in use")

// StageDeploy is the stage of every [App].
const stageDeploy = "deploy"

// Start starts an app. It does not wait until it is ready: [Running.Probe] does.
// Of one that does not start nothing is left.
func (e *Engine) Start(ctx context.Context, app App) (*Running, error) {
	app.Owner.Stage = stageDeploy
	id, err := e.startApp(ctx, app)
	if err != nil {
		if id != "" {
			e.trouble(e.remove(ctx, id))
		}
		return nil, fmt.Errorf("start %s: %w", app.Name, portTaken(err))
	}
	return e.Find(ctx, id)
}

func (e *Engine) startApp(ctx context.Context, app App) (string, error) {
	ends := &network.NetworkingConfig{}
	if err := checkNetwork(app.Network); err != nil {
		return "", err
	}
	if app.Network != "" {
		labels := app.Owner.labels(e.cfg.Instance, "", kindApp)
		if _, err := e.makeNetwork(ctx, app.Network, network.CreateOptions{Labels: labels}); err != nil {
			return "", err
		}
		ends.EndpointsConfig = map[string]*network.EndpointSettings{app.Network: {Aliases: app.Aliases}}
	}
	return e.launch(ctx, func(ctx context.Context, nofile int64) (string, error) {
		c, host, err := app.config(e.cfg.Instance, machine{e.info.CPUs, nofile})
		if err != nil {
			return "", err
		}
		return e.create(ctx, app.Name, c, host, ends)
	})
}

// config is the app's container.
func (a App) config(instance string, m machine) (*container.Config, *container.HostConfig, error) {
	env, err := environment(a.Env)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrStep, err)
	}
	exposed, bindings, err := nat.ParsePortSpecs(a.Publish)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: publish %s: %w", ErrStep, strings.Join(a.Publish, ", "), err)
	}
	c := &container.Config{
		Image: a.Image, User: a.User, Env: env, ExposedPorts: exposed,
		Entrypoint: a.Entrypoint, Cmd: strslice.StrSlice(a.Command),
		Labels: with(a.Labels, a.Owner.labels(instance, "", kindApp)),
	}
	host := hardened(a.Limits, false, m)
	if a.Limits.Memory <= 0 {
		host.Memory, host.MemorySwap = 0, 0
	}
	if a.Limits.CPU <= 0 {
		host.NanoCPUs = 0
	}
	host.OomScoreAdj = 0 // steps go first
	host.PortBindings = bindings
	host.RestartPolicy = container.RestartPolicy{Name: container.RestartPolicyUnlessStopped}
	if a.Restart != "" {
		host.RestartPolicy.Name = container.RestartPolicyMode(a.Restart)
	}
	if err := checkNetwork(a.Network); err != nil {
		return nil, nil, err
	}
	if a.Network != "" {
		host.NetworkMode = container.NetworkMode(a.Network)
	}
	for _, m := range a.Mounts {
		if m.Overlay != nil {
			return nil, nil, fmt.Errorf("%w: overlay at %s of an app", ErrStep, m.Target)
		}
	}
	if err := addMounts(host, a.Mounts, nil, map[string]string{labelKind: kindApp, labelApp: a.Owner.App}); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrStep, err)
	}
	return c, host, nil
}

// checkNetwork refuses names that mean a namespace of something else.
func checkNetwork(name string) error {
	if name == "host" || name == "none" || name == "default" || name == "bridge" || unnameable.MatchString(name) {
		return fmt.Errorf("%w: network %q is not one of its own", ErrStep, name)
	}
	return nil
}

// portTaken marks the errors that say so.
func portTaken(err error) error {
	if err == nil {
		return nil
	}
	for _, text := range []string{"port is already allocated", "address already in use"} {
		if strings.Contains(err.Error(), text) {
			return fmt.Errorf("%w: %w", ErrPortTaken, err)
		}
	}
	return err
}

// Apps lists what this instance has deployed, whichever process did, the newest first. An empty app
// or environment means all.
func (e *Engine) Apps(ctx context.Context, app, environment string) ([]*Running, error) {
	pairs := []string{labelInstance, e.cfg.Instance, labelStage, stageDeploy, labelKind, kindApp}
	if app != "" {
		pairs = append(pairs, labelApp, app)
	}
	if environment != "" {
		pairs = append(pairs, labelEnvironment, environment)
	}
	found, err := e.api.ContainerList(ctx, container.ListOptions{All: true, Filters: labelled(pairs...)})
	if err != nil {
		return nil, fmt.Errorf("list deployed containers: %w", err)
	}
	apps := make([]*Running, 0, len(found))
	for _, c := range found {
		r, err := e.Find(ctx, c.ID)
		if errors.Is(err, ErrNoContainer) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		apps = append(apps, r)
	}
	return apps, nil
}
