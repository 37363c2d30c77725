// Command shop sells what its PostgreSQL database has in stock, over HTTP on port 8080.
// "shop migrate" makes the tables, before a new version of the shop opens.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

var version = "unknown" // set by the build

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv("DATABASE_URL")); err != nil {
		slog.Error("shop ends", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, database string) error {
	store, err := open(database)
	if err != nil {
		return err
	}
	defer store.close()
	switch {
	case len(args) == 0:
		return serve(ctx, ":8080", store)
	case len(args) == 1 && args[0] == "migrate":
		return store.migrate(ctx)
	}
	return fmt.Errorf("shop does not know %q: it takes nothing, or migrate", args)
}

// serve answers until ctx ends, then lets running requests finish. The database is
// first needed by the first question for goods: the shop starts without it, and tells
// customers to come back.
func serve(ctx context.Context, addr string, store *store) error {
	server := &http.Server{Addr: addr, Handler: handler(store, time.Now), ReadHeaderTimeout: 5 * time.Second}
	stopped := make(chan error, 1)
	context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		stopped <- server.Shutdown(grace)
	})
	slog.Info("shop listens", "addr", addr, "version", version)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}
