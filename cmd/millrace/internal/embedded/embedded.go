// Package embedded runs all of Millrace in one process: NATS, an OCI registry on
// disk and the four services, which are the very ones that run as processes of
// their own. Only where they find NATS and the registry differs.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millrace-cd/millrace/pkg/attest"
	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/service"
	"github.com/millrace-cd/millrace/services/builder/builder"
	"github.com/millrace-cd/millrace/services/deployer/deployer"
	"github.com/millrace-cd/millrace/services/releaser/releaser"
	"github.com/millrace-cd/millrace/services/tester/tester"
)

// Options say where things are kept and who may reach them.
type Options struct {
	Dir          string   // of all data; must exist
	NATSAddr     string   // host:port that NATS listens on besides; "" = only this process reaches it
	RegistryAddr string   // host:port of the registry; 127.0.0.1:0 by default, a free port
	Protocols    []string // of repositories; https and ssh by default
	Instance     string   // whose containers on the engine; DNS label, "default" by default
	Concurrency  int      // deliveries a service works on at the same time; 2 by default
	Grace        time.Duration
	Log          *slog.Logger

	// Settings are of all services; where things are and who may reach them stands above.
	Settings service.Config
	Releaser releaser.Config
}

// Embedded is a running Millrace.
type Embedded struct {
	Bus      *bus.Bus
	Engine   *container.Engine // for the caller's own questions
	NATSURL  string            // "" where NATS does not listen
	Registry string            // host:port
	Keys     string            // directory of the keys that the services sign with

	log     *slog.Logger
	closers []func(context.Context) error // in the order of their making
	kits    []*service.Kit
	stop    context.CancelFunc
	running sync.WaitGroup
	failed  chan error
}

// Start starts everything, or nothing where something does not start.
func Start(ctx context.Context, o Options) (*Embedded, error) {
	o = o.orDefault()
	e := &Embedded{log: o.Log, failed: make(chan error, 4)}
	if err := e.start(ctx, o); err != nil {
		return nil, errors.Join(err, e.Close(context.WithoutCancel(ctx)))
	}
	return e, nil
}

func (o Options) orDefault() Options {
	if o.RegistryAddr == "" {
		o.RegistryAddr = "127.0.0.1:0"
	}
	if o.Instance == "" {
		o.Instance = service.DefaultInstance
	}
	if o.Concurrency == 0 {
		o.Concurrency = 2
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

func (e *Embedded) start(ctx context.Context, o Options) (err error) {
	e.Engine, err = container.Connect(ctx, container.Config{Instance: o.Instance, Warm: -1})
	if err != nil {
		return err
	}
	e.closers = append(e.closers, func(context.Context) error { return e.Engine.Close() })
	connect, err := e.startNATS(o)
	if err != nil {
		return err
	}
	if err := e.startRegistry(ctx, o); err != nil {
		return err
	}
	nc, err := connect("millrace")
	if err != nil {
		return err
	}
	if e.Bus, err = bus.Open(nc); err != nil {
		return err
	}
	if err := e.Bus.Provision(ctx, bus.Settings{Facts: 512 << 20, Progress: 512 << 20, Logs: 1 << 30}); err != nil {
		return err
	}
	return e.startServices(ctx, o, connect)
}

// findKeys makes keys at the first start, unless the settings say which there are.
func (e *Embedded) findKeys(o *Options) error {
	if o.Settings.KeysDir == "" {
		o.Settings.KeysDir = filepath.Join(o.Dir, KeysDir)
		if _, err := attest.Init(o.Settings.KeysDir, time.Now(), service.Signers()...); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	e.Keys = o.Settings.KeysDir
	return nil
}

// KeysDir is where the keys are, in the directory of all data.
const KeysDir = "keys"

// dialer opens a connection of its own for each service, as it would have as a
// process.
type dialer func(name string) (*nats.Conn, error)

func (e *Embedded) startServices(ctx context.Context, o Options, connect dialer) error {
	if err := e.findKeys(&o); err != nil {
		return err
	}
	ctx, e.stop = context.WithCancel(context.WithoutCancel(ctx))
	return errors.Join(
		launch(ctx, e, o, connect, "tester", tester.Serve, tester.Config{Protocols: o.Protocols}),
		launch(ctx, e, o, connect, "builder", builder.Serve, builder.Config{}),
		launch(ctx, e, o, connect, "releaser", releaser.Serve, o.Releaser),
		launch(ctx, e, o, connect, "deployer", deployer.Serve, deployer.Config{}),
	)
}

func launch[C any](ctx context.Context, e *Embedded, o Options, connect dialer, name string, serve service.Serve[C], own C) error {
	nc, err := connect("millrace-" + name)
	if err != nil {
		return err
	}
	k, err := service.Open(ctx, nc, name, e.settings(o, name), o.Log.With("service", name))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	e.kits = append(e.kits, k)
	e.running.Go(func() {
		if err := serve(ctx, k, own); err != nil {
			e.log.Error(name+" stopped", "err", err)
			e.failed <- fmt.Errorf("%s: %w", name, err)
		}
	})
	return nil
}

// settings are those of one service.
func (e *Embedded) settings(o Options, name string) service.Config {
	c := o.Settings
	c.Registry, c.RegistryPublic, c.RegistryInsecure = e.Registry, "", false
	c.DataDir, c.EngineDataDir = filepath.Join(o.Dir, "data"), ""
	c.Instance, c.Concurrency, c.Grace, c.Worker = o.Instance, o.Concurrency, o.Grace, name
	return c
}

// Failed gets an error for each service that could not go on.
func (e *Embedded) Failed() <-chan error { return e.failed }

// Stop ends the services and what they keep on the engine. What they had not
// finished is handed back, for the next start on the same directory.
func (e *Embedded) Stop(ctx context.Context) error {
	if e.stop != nil {
		e.stop()
	}
	e.running.Wait()
	var errs []error
	for _, k := range e.kits {
		errs = append(errs, k.Close(ctx))
	}
	e.kits = nil
	return errors.Join(errs...)
}

// Close stops the services, then what they work with.
func (e *Embedded) Close(ctx context.Context) error {
	errs := []error{e.Stop(ctx)}
	for _, closer := range slices.Backward(e.closers) {
		errs = append(errs, closer(ctx))
	}
	e.closers = nil
	return errors.Join(errs...)
}

// mkdir makes a directory below that of all data.
func mkdir(o Options, name string) (string, error) {
	dir := filepath.Join(o.Dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("data directory: %w", err)
	}
	return dir, nil
}
