package cli

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/millrace-cd/millrace/cmd/millrace/internal/render"
	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/telemetry"
)

func (a *app) publish() *cobra.Command {
	var c event.Commit
	cmd := &cobra.Command{
		Use: "publish --app APP --repository URL --commit HASH", Short: "Publish a commit event, which starts a delivery",
		Args: between(0, 0, "flags only"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.Check(); err != nil {
				return usage(err, "")
			}
			return a.withBus(cmd.Context(), func(ctx context.Context, b *bus.Bus) error {
				n, err := b.Publish(ctx, c, a.caller())
				if err != nil {
					return err
				}
				return a.published(n, c)
			})
		},
	}
	cmd.Flags().StringVar(&c.App, "app", "", "name of the app")
	cmd.Flags().StringVar(&c.Repository, "repository", "", "URL that the tester fetches from")
	cmd.Flags().StringVar(&c.Hash, "commit", "", "40 or 64 hex digits")
	cmd.Flags().StringVar(&c.Ref, "ref", "", "refs/heads/… or refs/tags/…")
	cmd.Flags().StringVar(&c.Path, "path", "", "directory of millrace.yaml in the repository")
	howFlags(cmd, &c)
	a.outputFlag(cmd)
	return cmd
}

// published tells the number of a new delivery, and what to do with it.
func (a *app) published(n uint64, c event.Commit) error {
	switch a.output {
	case "json":
		return a.json(struct {
			Number uint64 `json:"number"`
			App    string `json:"app"`
			Commit string `json:"commit"`
		}{n, c.App, c.Hash})
	case "name":
		return a.print(n)
	}
	if err := a.print(fmt.Sprintf("delivery %d of %s", n, c.App)); err != nil {
		return err
	}
	a.say("%s millrace show %d -f", render.Dim("follow it:"), n)
	return nil
}

// caller is the trace that this process was started in, if any: the delivery joins
// it. (https://opentelemetry.io/docs/specs/otel/context/env-carriers)
func (a *app) caller() nats.Header {
	parent, state := a.screen.Lookup("TRACEPARENT"), a.screen.Lookup("TRACESTATE")
	if !telemetry.Parse(parent, state).IsValid() {
		return nil
	}
	header := nats.Header{bus.HeaderHop: {parent}}
	if state != "" {
		header[bus.HeaderState] = []string{state}
	}
	return header
}
