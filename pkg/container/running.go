package container

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

// ErrNoContainer says that a container does not exist (any more).
var ErrNoContainer = errors.New("no such container")

// Port is a published port.
type Port struct {
	Container int
	Protocol  string // tcp, udp, sctp
	HostIP    string // 0.0.0.0 for all addresses
	Host      int
}

// Running is a service or an app, as it was when last looked at.
type Running struct {
	ID        string
	Name      string
	Image     string // reference it was made from
	ImageID   string
	Owner     Owner
	Labels    map[string]string
	State     string // created, running, restarting, exited …
	Exit      Exit   // once it is not running
	Created   time.Time
	Ports     []Port            // published ones; a host with IPv6 may list one twice
	Addresses map[string]string // network's name → IP, while it runs

	e *Engine
}

// Find looks at a container by ID or name.
func (e *Engine) Find(ctx context.Context, name string) (*Running, error) {
	r := &Running{ID: name, e: e}
	if err := r.Refresh(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// Refresh looks again.
func (r *Running) Refresh(ctx context.Context) error {
	c, err := r.e.api.ContainerInspect(ctx, r.ID)
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("%w: %s", ErrNoContainer, r.ID)
	}
	if err != nil {
		return fmt.Errorf("look at container %s: %w", r.ID, err)
	}
	r.ID, r.Name, r.ImageID = c.ID, strings.TrimPrefix(c.Name, "/"), c.Image
	r.Created, _ = time.Parse(time.RFC3339Nano, c.Created)
	if c.Config != nil {
		r.Image, r.Labels, r.Owner = c.Config.Image, c.Config.Labels, ownerOf(c.Config.Labels)
	}
	if c.State != nil {
		r.State = c.State.Status
		r.Exit = Exit{Code: c.State.ExitCode, OOM: c.State.OOMKilled}
	}
	return r.connect(ctx, c)
}

// connect reads where the container is reached: in the namespace that it shares, if it
// shares one.
func (r *Running) connect(ctx context.Context, c container.InspectResponse) error {
	if c.HostConfig == nil || !c.HostConfig.NetworkMode.IsContainer() {
		r.connections(c.NetworkSettings)
		return nil
	}
	shared, err := r.e.api.ContainerInspect(ctx, c.HostConfig.NetworkMode.ConnectedContainer())
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("look at the network of container %s: %w", r.ID, err)
	}
	r.connections(shared.NetworkSettings)
	return nil
}

// connections reads where the container is reached.
func (r *Running) connections(n *container.NetworkSettings) {
	r.Ports, r.Addresses = nil, map[string]string{}
	if n == nil {
		return
	}
	for port, bindings := range n.Ports {
		for _, b := range bindings {
			host, _ := strconv.Atoi(b.HostPort)
			r.Ports = append(r.Ports, Port{Container: port.Int(), Protocol: port.Proto(), HostIP: b.HostIP, Host: host})
		}
	}
	slices.SortFunc(r.Ports, func(a, b Port) int {
		return strings.Compare(fmt.Sprintf("%05d %v", a.Container, a), fmt.Sprintf("%05d %v", b.Container, b))
	})
	for name, end := range n.Networks {
		if end != nil && end.IPAddress != "" {
			r.Addresses[name] = end.IPAddress
		}
	}
}

// address is where this process may reach it, and on which network.
func (r *Running) address() (network, ip string, err error) {
	for _, name := range slices.Sorted(maps.Keys(r.Addresses)) {
		return name, r.Addresses[name], nil
	}
	return "", "", fmt.Errorf("container %s has no address", r.Name)
}

// Stop sends SIGTERM, and SIGKILL after grace. Its restart policy does not start
// it again. That it had ended is no error.
func (r *Running) Stop(ctx context.Context, grace time.Duration) error {
	seconds := int(max(grace, 0).Round(time.Second) / time.Second)
	err := r.e.api.ContainerStop(ctx, r.ID, container.StopOptions{Timeout: &seconds})
	return r.explain("stop", err)
}

// StartAgain starts it after a stop, with the ports it had.
func (r *Running) StartAgain(ctx context.Context) error {
	if err := r.explain("start", portTaken(r.e.api.ContainerStart(ctx, r.ID, container.StartOptions{}))); err != nil {
		return err
	}
	return r.Refresh(ctx)
}

// Rename changes its name.
func (r *Running) Rename(ctx context.Context, name string) error {
	if err := r.explain("rename", r.e.api.ContainerRename(ctx, r.ID, name)); err != nil {
		return err
	}
	r.Name = name
	return nil
}

// Remove kills and removes it, whatever becomes of ctx. That it is gone is no error.
func (r *Running) Remove(ctx context.Context) error { return r.e.remove(ctx, r.ID) }

// explain says what was tried on what.
func (r *Running) explain(verb string, err error) error {
	if err == nil {
		return nil
	}
	if errdefs.IsNotFound(err) && strings.Contains(err.Error(), "No such container") {
		err = ErrNoContainer
	}
	return fmt.Errorf("%s container %s: %w", verb, r.Name, err)
}

// Wait returns when it is not running, at once where it is not.
func (r *Running) Wait(ctx context.Context) (Exit, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done, failed := r.e.api.ContainerWait(ctx, r.ID, container.WaitConditionNotRunning)
	select {
	case <-done:
	case err := <-failed:
		return Exit{}, r.explain("wait for", err)
	}
	if err := r.Refresh(ctx); err != nil {
		return Exit{}, err
	}
	return r.Exit, nil
}

// Logs are the last lines that it printed, or all if n is negative.
func (r *Running) Logs(ctx context.Context, n int) ([]string, error) {
	tail := "all"
	if n >= 0 {
		tail = strconv.Itoa(n)
	}
	var b bytes.Buffer
	if err := r.copyLogs(ctx, &b, container.LogsOptions{Tail: tail}); err != nil {
		return nil, err
	}
	text := strings.TrimSuffix(b.String(), "\n")
	if text == "" {
		return nil, nil
	}
	return strings.Split(text, "\n"), nil
}

// Follow copies what it prints from its start on until it ends or ctx does.
func (r *Running) Follow(ctx context.Context, out io.Writer) error {
	return r.copyLogs(ctx, out, container.LogsOptions{Follow: true})
}

func (r *Running) copyLogs(ctx context.Context, out io.Writer, opts container.LogsOptions) error {
	opts.ShowStdout, opts.ShowStderr = true, true
	logs, err := r.e.api.ContainerLogs(ctx, r.ID, opts)
	if err != nil {
		return r.explain("read logs of", err)
	}
	defer func() { _ = logs.Close() }()
	_, err = stdcopy.StdCopy(out, out, logs)
	return r.explain("read logs of", err)
}
