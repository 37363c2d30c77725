package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace-cd/millrace/cmd/millrace/internal/render"
	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/delivery"
	"github.com/millrace-cd/millrace/pkg/service"
)

// caches are those of an instance on the engine of this host.
type caches struct {
	*app
	instance string
	of       string // app; "" for all
}

func (a *app) cache() *cobra.Command {
	c := &caches{app: a}
	cmd := &cobra.Command{
		Use: "cache", Short: "List or remove what steps keep from one delivery to the next",
		Long: "List or remove the caches of steps: the directories that a step keeps from one delivery\nof its app to the next, on the Docker engine of this host.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(fmt.Errorf("%q is nothing that millrace cache can do", args[0]), "usage: millrace cache ls|rm")
			}
			return cmd.Help()
		},
	}
	cmd.PersistentFlags().StringVar(&c.of, "app", "", "only caches of this app")
	cmd.PersistentFlags().StringVar(&c.instance, "instance", "", "of which Millrace, where several share the engine (MILLRACE_INSTANCE; default default)")
	cmd.AddCommand(c.list(), c.remove())
	return cmd
}

func (c *caches) list() *cobra.Command {
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List caches with their size and last use", Args: between(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withEngine(cmd.Context(), func(ctx context.Context, e *container.Engine) error {
				found, err := e.VolumesUsage(ctx, c.of)
				if err != nil {
					return err
				}
				return c.write(found, c.uses(ctx))
			})
		},
	}
	c.outputFlag(cmd)
	return cmd
}

// withEngine connects for as long as do runs.
func (c *caches) withEngine(ctx context.Context, do func(context.Context, *container.Engine) error) (err error) {
	if c.instance == "" {
		env, err := service.Parse[struct {
			Instance string `env:"INSTANCE" envDefault:"default"`
		}]()
		if err != nil {
			return usage(err, "")
		}
		c.instance = env.Instance
	}
	e, err := container.Connect(ctx, container.Config{Instance: c.instance, Warm: -1})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	return do(ctx, e)
}

// uses tells when caches were used. The engine does not know, and the list will do
// without.
func (c *caches) uses(ctx context.Context) (uses map[string]time.Time) {
	err := c.withBus(ctx, func(ctx context.Context, b *bus.Bus) (err error) {
		uses, err = b.CacheUses(ctx)
		return err
	})
	if err != nil {
		c.say("warning: when they were used is not known: %v", err)
	}
	return uses
}

// cacheLine is a cache as programs get it.
type cacheLine struct {
	Name    string    `json:"name"`
	App     string    `json:"app"`
	Bytes   int64     `json:"bytes"`
	InUse   bool      `json:"inUse"`
	Created time.Time `json:"created,omitzero"`
	Used    time.Time `json:"used,omitzero"`
}

// write lists caches, those not used for longest last.
func (c *caches) write(found []container.Volume, uses map[string]time.Time) error {
	lines := make([]cacheLine, 0, len(found))
	for _, v := range found {
		lines = append(lines, cacheLine{v.Name, v.App, max(v.Size, 0), v.Users > 0, v.Created, uses[v.Name]})
	}
	slices.SortStableFunc(lines, func(x, y cacheLine) int {
		return cmp.Or(y.Used.Compare(x.Used), y.Created.Compare(x.Created))
	})
	switch {
	case c.output == "json":
		return c.json(lines)
	case c.output == "name":
		for _, l := range lines {
			if err := c.print(l.Name); err != nil {
				return err
			}
		}
		return nil
	case len(lines) == 0:
		c.say("no caches\nhint: a step keeps the directories that its cache names")
		return nil
	}
	return render.Table(c.screen.Out, []string{"NAME", "APP", "SIZE", "USED", "CREATED", "STATE"}, rowsOf(lines, time.Now()))
}

func rowsOf(lines []cacheLine, now time.Time) (rows [][]string) {
	for _, l := range lines {
		state := ""
		if l.InUse {
			state = "in use"
		}
		rows = append(rows, []string{delivery.Text(l.Name), delivery.Text(l.App), render.Bytes(l.Bytes), render.Ago(l.Used, now), render.Ago(l.Created, now), state})
	}
	return rows
}

func (c *caches) remove() *cobra.Command {
	all := false
	cmd := &cobra.Command{
		Use: "rm NAME… | --app APP | --all", Short: "Remove caches; those in use stay",
		Long: "Remove the caches of these names, all of an app, or all. Those that a step uses now stay, and\nthe exit code is 3 then. A step that misses its cache makes it anew.",
		RunE: func(cmd *cobra.Command, names []string) error {
			if len(names) == 0 && !all && c.of == "" {
				return usage(errors.New("which caches is missing"), "name them, or say --app APP or --all; millrace cache ls lists them")
			}
			if len(names) > 0 && all {
				return usage(errors.New("--all and names do not go together"), "choose one of them")
			}
			return c.withEngine(cmd.Context(), func(ctx context.Context, e *container.Engine) error { return c.removeNamed(ctx, e, names) })
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all caches, of all apps unless --app names one")
	c.outputFlag(cmd)
	return cmd
}

// removeNamed removes caches of these names, or all where there are none. One name that
// is no cache's is enough to remove nothing.
func (c *caches) removeNamed(ctx context.Context, e *container.Engine, names []string) error {
	found, err := e.Volumes(ctx, c.of)
	if err != nil {
		return err
	}
	var known []string
	for _, v := range found {
		known = append(known, v.Name)
	}
	if len(names) == 0 {
		names = known
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return problem{fmt.Errorf("there is no cache %s", delivery.Text(name)), NotFound, "millrace cache ls lists them"}
		}
	}
	return c.removeAll(ctx, e, names)
}

// removeAll removes what is not in use, and tells of both.
func (c *caches) removeAll(ctx context.Context, e *container.Engine, names []string) error {
	told := struct {
		Removed []string `json:"removed"`
		InUse   []string `json:"inUse"`
	}{[]string{}, []string{}}
	var errs []error
	for _, name := range names {
		switch err := e.RemoveVolume(ctx, name); {
		case err == nil:
			told.Removed = append(told.Removed, name)
		case errors.Is(err, container.ErrInUse):
			told.InUse = append(told.InUse, name)
		default:
			errs = append(errs, err)
		}
	}
	if len(told.InUse) > 0 {
		errs = append(errs, problem{fmt.Errorf("in use by a step, so it stays: %s", strings.Join(told.InUse, ", ")), System, "try again when the step has ended; millrace ls tells what runs"})
	}
	switch {
	case c.output == "json":
		errs = append(errs, c.json(told))
	case len(names) == 0:
		c.say("no caches")
	}
	for _, name := range told.Removed {
		if c.output != "json" {
			errs = append(errs, c.print(name))
		}
	}
	return errors.Join(errs...)
}
