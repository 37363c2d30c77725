package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace-cd/millrace/cmd/millrace/internal/render"
	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/delivery"
)

func (a *app) list() *cobra.Command {
	var name string
	var limit int
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List the newest deliveries", Args: between(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return usage(errors.New("--limit is less than 1"), "")
			}
			return a.withBus(cmd.Context(), func(ctx context.Context, b *bus.Bus) error {
				list, err := delivery.List(ctx, b, name, limit)
				if err != nil {
					return err
				}
				return a.writeList(list)
			})
		},
	}
	cmd.Flags().StringVar(&name, "app", "", "only deliveries of this app")
	cmd.Flags().IntVarP(&limit, "limit", "n", 20, "how many at most")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) writeList(list []delivery.Delivery) error {
	if a.output == "json" {
		return a.json(list)
	}
	now := time.Now()
	var rows [][]string
	for _, d := range list {
		if a.output == "name" {
			if err := a.print(d.Number); err != nil {
				return err
			}
		}
		rows = append(rows, render.Row(d, now))
	}
	switch {
	case a.output == "name":
		return nil
	case len(rows) == 0:
		a.say("no deliveries yet\nhint: millrace deliver starts one")
		return nil
	}
	return render.Table(a.screen.Out, render.Header(), rows)
}
