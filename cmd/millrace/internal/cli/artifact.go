package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/millrace-cd/millrace/cmd/millrace/internal/fetch"
	"github.com/millrace-cd/millrace/cmd/millrace/internal/render"
	"github.com/millrace-cd/millrace/pkg/archive"
	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/delivery"
	"github.com/millrace-cd/millrace/pkg/event"
)

const artifactLong = `List or get the files that a delivery built, or with --reports those that a step kept.
` + newest + `

ls lists them. get without a PATH gets all of them, else those of these names and those
below these directories; into the current directory, or into --to DIR. One argument that
is no PATH of the artifact is the DIR to put all of it in. A dash in place of the DIR
writes one file to standard output. Nothing is written before all of it is there and has
the digest that the delivery says.

The registry is the one that the delivery names. Where it has another name here, that is
MILLRACE_REGISTRY; one that speaks plain http elsewhere than on this machine needs
MILLRACE_REGISTRY_INSECURE=true.`

const artifactExample = `  millrace artifact ls                       of the newest delivery
  millrace artifact 12 get out               all of delivery 12, into out
  millrace artifact 12 get dist/hello -      one file, to standard output
  millrace artifact 12 ls --platform linux/arm64
  millrace artifact 12 get --reports unit --to reports`

// artifactCall is what one wants of an artifact.
type artifactCall struct {
	delivery []string // its number, or nothing
	verb     string   // ls or get
	paths    []string

	platform, reports string
	to                string // directory, - for standard output, "" where it is not said
	force             bool
}

func (a *app) artifact() *cobra.Command {
	var c artifactCall
	cmd := &cobra.Command{
		Use: "artifact [N] ls|get [PATH…|DIR]", Short: "List or get the files that a delivery built, or its reports",
		Long: artifactLong, Example: artifactExample,
		Args: func(cmd *cobra.Command, args []string) error { return c.parse(cmd, args) },
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withBus(cmd.Context(), func(ctx context.Context, b *bus.Bus) error { return a.artifactOf(ctx, b, c) })
		},
	}
	cmd.Flags().StringVar(&c.platform, "platform", "", "of this platform, such as linux/arm64; the first of the file by default")
	cmd.Flags().StringVar(&c.reports, "reports", "", "not the artifact, but the reports that this step kept: STEP or STAGE/STEP")
	cmd.Flags().StringVar(&c.to, "to", "", "get: directory to put the files in, made if need be; - for standard output")
	cmd.Flags().BoolVar(&c.force, "force", false, "get: replace files that are there")
	a.outputFlag(cmd)
	return cmd
}

// parse takes the arguments apart: [N] VERB [PATH…].
func (c *artifactCall) parse(cmd *cobra.Command, args []string) error {
	how := "usage: " + cmd.UseLine() + "; " + cmd.CommandPath() + " --help tells more"
	c.delivery, c.paths = nil, args
	if len(args) > 0 && args[0] != "ls" && args[0] != "get" {
		c.delivery, c.paths = args[:1], args[1:]
	}
	if len(c.paths) == 0 {
		return usage(errors.New("what to do with the artifact is missing: ls or get"), how)
	}
	c.verb, c.paths = c.paths[0], c.paths[1:]
	switch {
	case c.verb != "ls" && c.verb != "get":
		return usage(fmt.Errorf("%q is nothing that an artifact can do", c.verb), how)
	case c.verb == "ls" && (len(c.paths) > 0 || c.to != "" || c.force):
		return usage(errors.New("ls lists all files and takes only the number of a delivery, before it"), how)
	case c.platform != "" && c.reports != "":
		return usage(errors.New("--platform is of the artifact, --reports is not"), "choose one of them")
	}
	return nil
}

func (a *app) artifactOf(ctx context.Context, b *bus.Bus, c artifactCall) error {
	n, err := number(ctx, b, c.delivery)
	if err != nil {
		return err
	}
	d, err := delivery.Load(ctx, b, n)
	if err != nil {
		return err
	}
	what, err := c.choose(d)
	if err != nil {
		return err
	}
	s, err := a.storeOf(what.Blob)
	if err != nil {
		return err
	}
	what.files, err = fetch.List(ctx, s, what.Blob)
	if err != nil {
		return unreachable(err)
	}
	if c.verb == "ls" {
		return a.listFiles(what)
	}
	return a.get(ctx, s, what, c)
}

// stored is a blob of a delivery.
type stored struct {
	Delivery uint64 `json:"delivery"`
	App      string `json:"app"`
	Platform string `json:"platform,omitempty"`
	Step     string `json:"step,omitempty"` // whose reports they are
	event.Blob
	files []archive.File
}

// title is the blob in a few words.
func (s stored) title() string {
	switch {
	case s.Step != "":
		return fmt.Sprintf("reports of %s of delivery %d", delivery.Text(s.Step), s.Delivery)
	case s.Platform != "":
		return fmt.Sprintf("artifact of delivery %d for %s", s.Delivery, delivery.Text(s.Platform))
	}
	return fmt.Sprintf("artifact of delivery %d", s.Delivery)
}

func (a *app) listFiles(what stored) error {
	if a.output == "json" {
		return a.json(struct {
			stored
			Files []archive.File `json:"files"`
		}{what, what.files})
	}
	var rows [][]string
	for _, f := range what.files {
		if a.output == "name" {
			if err := a.print(delivery.Text(f.Path)); err != nil {
				return err
			}
		}
		rows = append(rows, render.File(f))
	}
	if a.output == "name" {
		return nil
	}
	a.say("%s: %s  %s", what.title(), delivery.Text(what.Digest), render.Dim(render.Amount(archive.Count(what.files))))
	return render.Table(a.screen.Out, render.FileHeader(), rows)
}
