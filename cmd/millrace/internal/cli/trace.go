package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/millrace-cd/millrace/cmd/millrace/internal/render"
	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/delivery"
)

func (a *app) trace() *cobra.Command {
	cmd := &cobra.Command{
		Use: "trace [N]", Short: "Show where a delivery's time went, as a tree",
		Long: "Show where a delivery's time went, as a tree of the spans that a tracing backend gets as well. " + newest,
		Args: between(0, 1, "at most one number of a delivery"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withBus(cmd.Context(), func(ctx context.Context, b *bus.Bus) error {
				n, err := number(ctx, b, args)
				if err != nil {
					return err
				}
				root, err := delivery.Trace(ctx, b, n)
				if err != nil {
					return err
				}
				switch a.output {
				case "json":
					return a.json(root)
				case "name":
					return a.print(root.TraceID)
				}
				return render.Trace(a.screen.Out, root)
			})
		},
	}
	a.outputFlag(cmd)
	return cmd
}
