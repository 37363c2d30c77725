package cli

import (
	"context"
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/millrace-cd/millrace/cmd/millrace/internal/render"
	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/delivery"
)

func (a *app) logs() *cobra.Command {
	var which delivery.Which
	var follow bool
	cmd := &cobra.Command{
		Use: "logs [N]", Short: "Print what a delivery's steps printed",
		Long: "Print what a delivery's steps printed. " + newest + "\nTerminal control sequences other than colours are left out; -o json has the text as it was.",
		Args: between(0, 1, "at most one number of a delivery"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withBus(cmd.Context(), func(ctx context.Context, b *bus.Bus) error {
				n, err := number(ctx, b, args)
				if err != nil {
					return err
				}
				return a.printLogs(ctx, b, n, which, follow)
			})
		},
	}
	cmd.Flags().StringVar(&which.Stage, "stage", "", "only of this stage: test, build, release or deploy")
	cmd.Flags().StringVar(&which.Step, "step", "", "only of this step")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the delivery has ended")
	cmd.Flags().StringVarP(&a.output, "output", "o", "table", "form of the data: table, json (an object a line) or name (the steps)")
	return cmd
}

func (a *app) printLogs(ctx context.Context, b *bus.Bus, n uint64, which delivery.Which, follow bool) error {
	found := 0
	counted := func(each func(delivery.Chunk) error) func(delivery.Chunk) error {
		return func(c delivery.Chunk) error {
			found++
			return each(c)
		}
	}
	var err error
	switch a.output {
	case "json":
		err = delivery.Logs(ctx, b, n, which, follow, counted(a.chunk))
	case "name":
		err = delivery.Logs(ctx, b, n, which, follow, counted(a.names()))
	default:
		text := &render.Logs{W: a.screen.Out, Prefixed: which.Step == ""}
		if err = delivery.Logs(ctx, b, n, which, follow, counted(text.Chunk)); err == nil {
			err = text.Flush()
		}
	}
	if err == nil && found == 0 {
		a.say("no logs\nhint: millrace show %d tells the stages and steps that there are", n)
	}
	if err != nil && ctx.Err() != nil && follow {
		a.say("detached: delivery %d goes on\nhint: millrace logs %d -f follows it again", n, n)
		return quiet(Interrupted)
	}
	return err
}

// chunk writes a chunk as one line of JSON, its data as text.
func (a *app) chunk(c delivery.Chunk) error {
	data, err := json.Marshal(struct {
		delivery.Chunk
		Text string `json:"text,omitempty"`
	}{c, string(c.Data)})
	if err != nil {
		return err
	}
	return a.print(string(data))
}

// names writes each step once.
func (a *app) names() func(delivery.Chunk) error {
	seen := map[string]bool{}
	return func(c delivery.Chunk) error {
		name := delivery.Text(c.Stage + "/" + c.Step)
		if seen[name] {
			return nil
		}
		seen[name] = true
		return a.print(name)
	}
}
