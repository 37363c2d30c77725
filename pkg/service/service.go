// Package service turns a stage into a process: settings in, signals handled,
// NATS, engine, registry and telemetry connected, health told, everything closed at
// the end. It is the only reader of the environment.
//
// The same stages run in one process of their own each and together in one: only
// who fills in [Config] differs.
package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millrace-cd/millrace/pkg/bus"
)

// Serve does a stage's work until ctx ends. C are the stage's own settings.
type Serve[C any] func(ctx context.Context, k *Kit, cfg C) error

// Main runs the stage called name (tester, builder, releaser, deployer) as a
// process, and exits with 1 if it could not go on.
func Main[C any](name string, serve Serve[C]) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := Run(ctx, name, serve); err != nil {
		slog.Error(name+" stopped", "err", err)
		stop()
		os.Exit(1)
	}
}

// Run is Main without signals and exit.
func Run[C any](ctx context.Context, name string, serve Serve[C]) error {
	cfg, err := Parse[Config]()
	if err != nil {
		return err
	}
	own, err := Parse[C]()
	if err != nil {
		return err
	}
	slog.SetDefault(logger(os.Stderr, cfg).With("service", name))
	nc, err := dial(ctx, cfg, name)
	if err != nil {
		return err
	}
	defer nc.Close()
	k, err := Open(ctx, nc, name, cfg, slog.Default())
	if err != nil {
		return err
	}
	defer k.closeAfter(ctx)
	stopped, err := k.serveHealth(ctx)
	if err != nil {
		return err
	}
	defer stopped()
	k.Log.Info("ready", "worker", k.Worker, "version", Version(), "engine", k.Engine.Version(), "registry", k.Registry)
	if err := serve(ctx, k, own); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// dial waits for NATS as long as it takes: services start in any order.
func dial(ctx context.Context, cfg Config, name string) (*nats.Conn, error) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	said := false
	for {
		nc, err := bus.Dial(cfg.NATSURL, "millrace-"+name, cfg.NATSCreds)
		if err == nil || errors.Is(err, nats.ErrAuthorization) {
			return nc, err
		}
		if !said {
			slog.Warn("waiting for NATS", "err", err)
			said = true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}

func logger(w io.Writer, cfg Config) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.LogLevel}
	if cfg.LogFormat == "text" {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// Version is the module version of the binary, if it was built from one.
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}
