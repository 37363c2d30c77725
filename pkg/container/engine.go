// Package container runs steps, services and apps on a Docker engine. It is the
// only package that knows the engine's client.
//
// What it promises:
//
//   - A [Step] runs in a fresh container and ends with the exit code of its own
//     script. Whatever the engine or the connection does wrong is an error and
//     never an exit code.
//   - Every byte that a step prints is written before its run returns.
//   - Nothing that a caller can say yields a privileged container, a host
//     directory, a device, a namespace of the host or the engine's socket.
//   - Everything made here carries labels, and what no live work owns is removed:
//     at the end of its [Session], else by [Engine.Reap].
//
// Starting a container is slow, so it happens ahead: a step's container waits at
// a gate for its turn (gate.go), in the network namespace of a pause container
// that was made before (pool.go).
package container

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/client"
	"go.opentelemetry.io/otel/trace/noop"
)

// Config says which engine to use, and as whom.
type Config struct {
	// Host is the engine's address, such as unix:///var/run/docker.sock. When
	// empty, the standard DOCKER_* variables count, else the default socket.
	Host string

	// Instance tells what is ours from what belongs to other installations on the
	// same engine. It is a DNS label that all processes of an installation share.
	Instance string

	// Process tells what this process made from what others of its instance did. It
	// must differ from that of all others, dead ones included, and have no slash; random
	// by default.
	Process string

	// Self is the host name or ID of the container that this process runs in, so
	// that probes can join the networks of what they probe. The name of no
	// container means that the process runs on the engine's host.
	Self string

	// Warm is how many pause containers are kept ready. 0 means two for
	// each core, from 4 to 16; less means none.
	Warm int

	// Ahead is which networks are kept ready; none by default.
	Ahead Ahead

	// Linger is how long the [Private] network of a closed session stays, with all that is
	// on it: to remove it takes time from the stages that come next. [Engine.Close] does
	// not wait for that.
	Linger time.Duration

	// Starts is how many containers may be starting at a time, and how many
	// started ones of a session may wait for their turn. 0 means twice the cores.
	Starts int

	// Credentials finds what to show to a registry (host[:port]). It may be nil.
	Credentials func(registry string) (Auth, bool)

	// Operator is what every step and service gets.
	Operator Operator

	// Trouble is told of errors that nobody waits for, such as a container that
	// could not be removed (the reaper gets it later). It may be nil.
	Trouble func(error)
}

// Info describes an engine.
type Info struct {
	Version      string // such as 20.10.24
	API          string // version negotiated with it
	Architecture string // as Go names it: amd64, arm64 …
	Name         string // of its host
	Root         string // its data directory on its host
	CPUs         int
	Memory       int64 // bytes
}

// Engine is a connection to a Docker engine.
type Engine struct {
	api    *client.Client
	cfg    Config
	info   Info
	self   string        // this process's own container, or ""
	starts chan struct{} // one slot for each start under way
	nofile atomic.Int32  // index for nofileLimit: the highest that the engine allows
	// settled is that nofile is known; settling is held for both.
	settled  bool
	settling sync.Mutex
	reach    reach
	pool     *pool

	ready    *readyNetworks
	pausing  sync.Mutex // held while the pause image is looked for
	mu       sync.Mutex
	closed   bool
	closing  chan struct{}       // closed with it
	idle     chan struct{}       // closed while no session is open
	sessions map[string]*Session // open ones by ID
	work     sync.WaitGroup      // of sessions that are being closed
}

// idPattern is what names that go into labels and names of objects look like.
var idPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// Connect finds the engine and makes sure that it answers.
// The error names the socket and says how to make it right.
func Connect(ctx context.Context, cfg Config) (*Engine, error) {
	if !idPattern.MatchString(cfg.Instance) {
		return nil, fmt.Errorf("container instance %q: want a DNS label", cfg.Instance)
	}
	if strings.Contains(cfg.Process, processEnd) {
		return nil, fmt.Errorf("process %q: want a name without a slash", cfg.Process)
	}
	if err := cfg.Operator.check(); err != nil {
		return nil, fmt.Errorf("operator's settings of containers: %w", err)
	}
	// Spans of the engine's HTTP requests would drown those of a delivery.
	opts := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation(), client.WithTraceProvider(noop.NewTracerProvider())}
	if cfg.Host != "" {
		opts = append(opts, client.WithHost(cfg.Host))
	}
	api, err := client.NewClientWithOpts(opts...)
	if err != nil {
		return nil, fmt.Errorf("docker engine: %w", err)
	}
	info, err := ask(ctx, api)
	if err != nil {
		_ = api.Close()
		return nil, unreachable(api.DaemonHost(), err)
	}
	return assemble(ctx, api, cfg, info)
}

// assemble makes an engine of a connection that works.
func assemble(ctx context.Context, api *client.Client, cfg Config, info Info) (*Engine, error) {
	if cfg.Starts <= 0 {
		cfg.Starts = 2 * info.CPUs
	}
	if cfg.Warm == 0 {
		cfg.Warm = min(max(4, 2*info.CPUs), 16) // for two deliveries with steps side by side
	}
	if cfg.Process == "" {
		cfg.Process = random(8)
	}
	e := &Engine{api: api, cfg: cfg, info: info, sessions: map[string]*Session{}, closing: make(chan struct{}), idle: make(chan struct{})}
	e.starts = make(chan struct{}, cfg.Starts)
	e.self = e.findSelf(ctx, cfg.Self)
	close(e.idle)
	e.pool = newPool(e, max(0, cfg.Warm))
	e.ready = newReadyNetworks(e, cfg.Ahead.Networks)
	return e, nil
}

// ask is the first conversation with an engine.
func ask(ctx context.Context, api *client.Client) (Info, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	version, err := api.ServerVersion(ctx)
	if err != nil {
		return Info{}, err
	}
	var info system.Info
	if info, err = api.Info(ctx); err != nil {
		return Info{}, err
	}
	return Info{
		Version: version.Version, API: api.ClientVersion(), Architecture: version.Arch,
		Name: info.Name, Root: info.DockerRootDir, CPUs: max(1, info.NCPU), Memory: info.MemTotal,
	}, nil
}

// unreachable explains why there is no engine, and what helps.
func unreachable(host string, err error) error {
	fix := "is Docker Engine running there? DOCKER_HOST chooses another address"
	socket, local := strings.CutPrefix(host, "unix://")
	switch text := err.Error(); {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		fix = "it does not answer; try: docker version"
	case strings.Contains(text, "permission denied"):
		fix = "run as root or join the group that owns " + socket + ": sudo usermod -aG docker $USER, then log in again"
	case local:
		fix = "install Docker Engine, or start it: sudo systemctl start docker (or: sudo service docker start)"
	}
	return fmt.Errorf("no docker engine at %s: %w\n  %s", host, err, fix)
}

// Close stops preparing containers, waits until those of closed sessions are
// gone, removes the warm ones, and ends the connection. Sessions that are still
// open are closed.
func (e *Engine) Close() error {
	e.mu.Lock()
	if !e.closed {
		close(e.closing)
	}
	e.closed = true
	open := make([]*Session, 0, len(e.sessions))
	for _, s := range e.sessions {
		open = append(open, s)
	}
	e.mu.Unlock()
	for _, s := range open {
		s.Close(context.Background())
	}
	e.work.Wait()
	e.ready.close()
	e.pool.close()
	return e.api.Close()
}

// Info describes the engine.
func (e *Engine) Info() Info { return e.info }

// Version is the engine's, such as 20.10.24.
func (e *Engine) Version() string { return e.info.Version }

// trouble passes on an error that nobody waits for.
func (e *Engine) trouble(err error) {
	if err != nil && e.cfg.Trouble != nil {
		e.cfg.Trouble(err)
	}
}

// opened notes that s has begun, or refuses it when the engine is closed.
func (e *Engine) opened(s *Session) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return ErrClosed
	}
	if len(e.sessions) == 0 {
		e.idle = make(chan struct{})
	}
	e.sessions[s.id] = s
	e.work.Add(1)
	return nil
}

// left notes that nothing of s is left.
func (e *Engine) left(s *Session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.sessions, s.id)
	if len(e.sessions) == 0 {
		close(e.idle)
	}
	e.work.Done()
}

// quiet is closed while no session is open.
func (e *Engine) quiet() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.idle
}
