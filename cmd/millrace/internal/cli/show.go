package cli

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace-cd/millrace/cmd/millrace/internal/render"
	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/delivery"
)

func (a *app) show() *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use: "show [N]", Short: "Show a delivery: stages, steps, digests, where it runs, why it failed",
		Long: "Show a delivery: stages, steps, digests, where it runs, why it failed.\n\n" + newest,
		Args: between(0, 1, "at most one number of a delivery"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withBus(cmd.Context(), func(ctx context.Context, b *bus.Bus) error {
				n, err := number(ctx, b, args)
				if err != nil {
					return err
				}
				if follow {
					return a.follow(ctx, b, n, 0)
				}
				return a.showOne(ctx, b, n)
			})
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "follow it live until it ends")
	a.outputFlag(cmd)
	a.progressFlag(cmd)
	return cmd
}

// newest is what the commands that look at one delivery say of their argument.
const newest = "Without N it is the newest delivery of the app in the current directory, or of all."

func (a *app) showOne(ctx context.Context, b *bus.Bus, n uint64) error {
	d, err := delivery.Load(ctx, b, n)
	if err != nil {
		return err
	}
	switch a.output {
	case "json":
		return a.json(d)
	case "name":
		return a.print(d.Number)
	}
	environments, err := b.Environments(ctx)
	if err != nil {
		return err
	}
	if err := render.Show(a.screen.Out, d, environments, time.Now()); err != nil {
		return err
	}
	a.forgiven(d)
	return a.tails(ctx, b, d, a.screen.Out)
}

// forgiven writes the tests that failed without making the delivery fail, or not yet:
// those in quarantine, those of optional steps.
func (a *app) forgiven(d delivery.Delivery) {
	culprit, _ := d.Culprit()
	for _, s := range d.Stages {
		for _, step := range s.Steps {
			failed := func(f delivery.Step) bool { return f.Name == step.Name }
			if s.Title() != culprit.Title() || !slices.ContainsFunc(culprit.Failed(), failed) {
				render.Cases(a.screen.Out, s, step)
			}
		}
	}
}
