package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/service"
)

func (a *app) provision() *cobra.Command {
	var wait time.Duration
	var set bus.Settings
	cmd := &cobra.Command{
		Use: "provision", Short: "Make the streams that all services need, or bring them up to date",
		Args: between(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := cmd.Context(), func() {}
			if wait > 0 {
				ctx, cancel = context.WithTimeout(ctx, wait)
			}
			defer cancel()
			err := patiently(ctx, wait > 0, func() error {
				return a.withBus(ctx, func(ctx context.Context, b *bus.Bus) error { return b.Provision(ctx, set) })
			})
			if err != nil {
				return err
			}
			a.say("the streams, consumers and buckets are there")
			return nil
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", 0, "try again for so long where NATS is not ready yet")
	cmd.Flags().IntVar(&set.Replicas, "replicas", 1, "copies of each stream: 1, or 3 on a cluster")
	return cmd
}

// patiently repeats do until it succeeds or ctx ends; at most once where not asked to
// wait. It returns the last error.
func patiently(ctx context.Context, wait bool, do func() error) error {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		err := do()
		if err == nil || !wait {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			return problem{fmt.Errorf("gave up waiting: %w", err), GaveUp, explain(err).hint}
		}
	}
}

func (a *app) healthcheck() *cobra.Command {
	return &cobra.Command{
		Use: "healthcheck [HOST:PORT]", Short: "Ask the service in this container whether it is ready",
		Long: "Ask the service in this container whether it is ready: exit code 0 if it is.\nThe address is that of its health endpoints, MILLRACE_HTTP_ADDR unless given.",
		Args: between(0, 1, "at most one address"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := service.Parse[service.Config]()
			if err != nil {
				return usage(err, "")
			}
			addr := cfg.HTTPAddr
			if len(args) > 0 {
				addr = args[0]
			}
			return service.Healthy(cmd.Context(), addr)
		},
	}
}
