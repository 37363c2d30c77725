package container

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/strslice"
)

// Workspace is where a step finds its files and starts.
const Workspace = "/workspace"

// Step is a script to run in a fresh container.
type Step struct {
	Name    string
	Attempt int

	Image string            // as [Image].Pinned
	Run   []string          // lines of the script; none: Shell is the whole command
	Shell []string          // gets the script as last argument; default /bin/sh -ec
	Env   map[string]string // goes before [Operator.Env]
	User  string            // default: the image's

	// Secrets are values by name, none with a zero byte, 64 KiB in all. A step finds each
	// in its environment, whatever Env says of the name, and in the file
	// /run/secrets/NAME, which only its user may read. They reach the container when its
	// turn comes, past everything that can be looked at: configuration, labels,
	// arguments. With a Shell other than /bin/sh this is not possible: they are in the
	// environment only, and in the container's configuration, which whoever controls the
	// engine can read.
	Secrets map[string]string

	// Workspace is mounted at /workspace; nil leaves that to the image.
	Workspace *Overlay
	Workdir   string // default /workspace where there is one; relative to it
	Mounts    []Mount

	Limits  Limits
	Strict  bool          // no capabilities, read-only root, user 1000, no network but a sealed one
	Network bool          // false: none, but a sealed session's
	Lane    int           // steps of one lane share a network namespace and run one after another
	Timeout time.Duration // of the script; 0 means none
	Grace   time.Duration // between SIGTERM and SIGKILL; default 10 s

	// Commit is given the container as an image, by ID, when the step has ended with 0:
	// its image and what it changed of that, without mounts. The image is removed
	// afterwards. It may be nil.
	Commit func(ctx context.Context, image string) error

	// Removed is called once nothing of the step is left on the engine, so that the
	// directories of its overlays may go. It may be nil.
	Removed func()
}

// maxScript is what a kernel takes as one argument, less a page.
const maxScript = 124 << 10

// ErrStep says that a step asks for what cannot be. The step is at fault.
var ErrStep = errors.New("invalid step")

// defaults fills in what the caller left out.
func (s Step) defaults() Step {
	if len(s.Shell) == 0 {
		s.Shell = []string{"/bin/sh", "-ec"}
	}
	if s.Workspace != nil && !path.IsAbs(s.Workdir) {
		s.Workdir = path.Join(Workspace, s.Workdir)
	}
	s.Grace = cmp.Or(s.Grace, 10*time.Second)
	return s
}

// gated tells whether the step can be started before its turn: the gate is a
// script for /bin/sh, so an image that needs another shell may not have it.
func (s Step) gated() bool { return s.Shell[0] == "/bin/sh" || s.Shell[0] == "sh" }

// command is what runs the script.
func (s Step) command() []string {
	if len(s.Run) == 0 {
		return s.Shell
	}
	return append(slices.Clone(s.Shell), strings.Join(s.Run, "\n"))
}

// config is the step's container, all but its network.
func (s Step) config(p place) (*container.Config, *container.HostConfig, error) {
	p = p.of(s.Name, s.Attempt)
	command := s.command()
	if len(command[len(command)-1]) > maxScript {
		return nil, nil, fmt.Errorf("%w %s: its script has more than %d KiB", ErrStep, s.Name, maxScript>>10)
	}
	env, err := s.env(p)
	if err != nil {
		return nil, nil, fmt.Errorf("%w %s: %w", ErrStep, s.Name, err)
	}
	c := &container.Config{
		Image: s.Image, User: s.User, WorkingDir: s.Workdir, Env: env,
		Entrypoint: command, Cmd: strslice.StrSlice{},
		AttachStdout: true, AttachStderr: true,
		Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
		Labels:      p.labels(kindStep),
	}
	if s.Strict {
		c.User = cmp.Or(s.User, strictUser)
		c.Env = append(c.Env, "HOME="+strictHome)
	}
	if s.gated() {
		c.Entrypoint, c.Cmd = gate(), command
		c.Env = append(c.Env, gateEnv)
		c.OpenStdin, c.StdinOnce, c.AttachStdin = true, true, true
	}
	host := hardened(s.Limits, s.Strict, p.machine)
	if s.gated() && len(s.Secrets) > 0 {
		host.Tmpfs = with(host.Tmpfs, map[string]string{secretsDir: secretsTmpfs})
	}
	host.LogConfig = container.LogConfig{Type: "none"} // read by attaching
	mounts := s.Mounts
	if s.Workspace != nil {
		mounts = append([]Mount{{Target: Workspace, Overlay: s.Workspace}}, mounts...)
	}
	if err := p.furnish(host, mounts); err != nil {
		return nil, nil, fmt.Errorf("%w %s: %w", ErrStep, s.Name, err)
	}
	return c, host, nil
}

// env is the step's environment before its turn.
func (s Step) env(p place) ([]string, error) {
	if err := checkSecrets(s.Secrets); err != nil {
		return nil, err
	}
	if s.gated() {
		return p.env(s.Env)
	}
	return p.env(with(s.Env, s.Secrets))
}

// environment is env in the engine's form, sorted.
func environment(env map[string]string) ([]string, error) {
	list := make([]string, 0, len(env)+2)
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(env[name], "\x00") {
			return nil, fmt.Errorf("environment variable %q: not a name and a value", name)
		}
		list = append(list, name+"="+env[name])
	}
	return list, nil
}

// Step begins to create and start a container for spec; [Prepared.Run] runs it. At
// most a few wait started for their turn, in the order of the calls. The end of
// ctx stops the preparation.
func (s *Session) Step(ctx context.Context, spec Step) *Prepared {
	p := &Prepared{
		s: s, spec: spec.defaults(),
		wanted: make(chan struct{}), ready: make(chan struct{}), ran: make(chan struct{}),
	}
	if !s.enqueue(ctx, p) {
		p.err = ErrClosed
		close(p.ready)
		if p.spec.Removed != nil {
			p.spec.Removed()
		}
	}
	return p
}

// enqueue begins the life of p after those before it, unless the session is over.
func (s *Session) enqueue(ctx context.Context, p *Prepared) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return false
	}
	turn, admitted := s.last, make(chan struct{})
	s.last = admitted
	s.steps.Go(func() { p.live(ctx, turn, admitted) })
	return true
}
