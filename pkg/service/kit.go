package service

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/trace"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/custody"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/inventory"
	"github.com/millrace-cd/millrace/pkg/secret"
	"github.com/millrace-cd/millrace/pkg/store"
	"github.com/millrace-cd/millrace/pkg/telemetry"
	"github.com/millrace-cd/millrace/pkg/workspace"
)

// Kit is what a stage works with.
type Kit struct {
	Config
	Bus     *bus.Bus
	Engine  *container.Engine
	Store   *store.Store
	Custody custody.Clerk
	Shelf   inventory.Shelf
	Trees   *workspace.Cache
	Secrets *secret.Store
	Tracer  trace.Tracer
	Log     *slog.Logger

	telemetry *telemetry.Telemetry
	process   string // names it on the engine; new with each start
	keeper    keeper
}

// stages are the services' names and their stages.
var stages = map[string]string{ //nolint:gochecknoglobals // a constant, if Go had constant maps
	"tester": event.StageTest, "builder": event.StageBuild, "releaser": event.StageRelease, "deployer": event.StageDeploy,
}

// Open connects the service called name to all it needs. nc stays the caller's.
func Open(ctx context.Context, nc *nats.Conn, name string, cfg Config, log *slog.Logger) (*Kit, error) {
	cfg, err := cfg.orDefault(name)
	if err != nil {
		return nil, err
	}
	k := &Kit{Config: cfg, Log: log, process: rand.Text()}
	if k.Bus, err = bus.Open(nc); err != nil {
		return nil, err
	}
	if k.Store, err = cfg.OpenStore(); err != nil {
		return nil, err
	}
	keys, err := cfg.keys(name)
	if err != nil {
		return nil, err
	}
	k.Custody, k.Shelf = custody.Clerk{Registry: k.Store, Keys: keys}, inventory.Shelf{Dir: k.inventoryDir()}
	if k.Trees, err = workspace.Open(filepath.Join(cfg.DataDir, "trees"), filepath.Join(cfg.EngineDataDir, "trees")); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.DataDir, 0o711); err != nil { //nolint:gosec // users of steps have to get to their trees
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if k.Secrets, err = secret.Open(secret.Config{Dir: cfg.SecretsDir, Lookup: os.LookupEnv, Data: cfg.DataDir}); err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("name of this host: %w", err)
	}
	operator, err := cfg.operator()
	if err != nil {
		return nil, err
	}
	engine := container.Config{
		Credentials: k.credentials, Operator: operator, Instance: cfg.Instance, Process: k.process, Self: host, Linger: linger,
		Trouble: func(err error) { log.Warn("container", "err", err) },
	}
	engine.Warm, engine.Ahead = cfg.ahead(name)
	if k.Engine, err = container.Connect(ctx, engine); err != nil {
		return nil, err
	}
	k.telemetry, err = telemetry.Open(ctx, telemetry.Service{Name: "millrace-" + name, Version: Version(), Instance: cfg.Worker}, k.sink(stages[name]))
	if err != nil {
		return nil, errors.Join(err, k.Engine.Close())
	}
	k.Tracer = k.telemetry.Tracer()
	k.keep(ctx)
	return k, nil
}

// sink stores the spans of a stage's deliveries on the bus.
func (k *Kit) sink(stage string) func(telemetry.Span) {
	return func(s telemetry.Span) {
		if data, err := json.Marshal(s); err == nil {
			k.Bus.NoteRaw(stage, event.Span, s.App, s.Number, data)
		}
	}
}

// Close ends what Open began.
func (k *Kit) Close(ctx context.Context) error {
	k.keeper.stop()
	return errors.Join(k.telemetry.Close(ctx), k.Engine.Close())
}

// closeAfter closes at the end of a process whose ctx is over, and must not hang it.
func (k *Kit) closeAfter(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if err := k.Close(ctx); err != nil {
		k.Log.Warn("not all was closed", "err", err)
	}
}

// serveHealth answers /livez, /readyz and /version until stopped.
func (k *Kit) serveHealth(ctx context.Context) (stop func(), err error) {
	if k.HTTPAddr == "" || k.HTTPAddr == "none" {
		return func() {}, nil
	}
	listener, err := listen(ctx, k.HTTPAddr)
	if err != nil {
		return nil, fmt.Errorf("health endpoints: %w (change %sHTTP_ADDR)", err, Prefix)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(Version() + "\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { k.ready(ctx, w, r) })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	return func() { _ = server.Close(); <-done }, nil
}

// ready lists the checks; the status is 503 where one fails.
func (k *Kit) ready(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	check, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	checks := []struct {
		name string
		err  error
	}{{"nats", k.Bus.Ready(check)}, {"engine", k.Engine.Ping(check)}, {"not stopping", ctx.Err()}}
	status, text := http.StatusOK, ""
	for _, c := range checks {
		if c.err != nil {
			status = http.StatusServiceUnavailable
			text += fmt.Sprintf("[-] %s: %v\n", c.name, c.err)
			continue
		}
		text += "[+] " + c.name + "\n"
	}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}

// ReleaseHost is the release's name on the network of the environment where it is
// accepted.
const ReleaseHost = "app"

// linger is longer than a deployment takes to begin.
const linger = 2 * time.Second

// ahead is what the engine keeps ready for a service: namespaces for steps, as many as
// the engine package thinks best, or whole networks where the service has them.
func (c Config) ahead(name string) (warm int, ahead container.Ahead) {
	switch {
	case name == "releaser" && c.Ahead:
		return -1, container.Ahead{Networks: 1, Host: ReleaseHost}
	case name == "releaser", name == "deployer":
		return -1, ahead
	}
	return 0, ahead
}
