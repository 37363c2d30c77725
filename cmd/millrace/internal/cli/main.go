// Package cli is the millrace command.
//
// Data goes to standard output; progress, hints and errors go to standard error. The
// exit code says how it ended: see the constants.
package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/millrace-cd/millrace/cmd/millrace/internal/render"
)

// Process is what the command gets from the system.
type Process struct {
	Args     []string // without the program's name
	Environ  []string
	In       io.Reader
	Out, Err io.Writer
}

// app is what all commands share.
type app struct {
	screen  *render.Screen
	version Version
	started bool // a command has begun: errors before are of usage

	nats, creds string
	output      string
	progress    string
}

// Main runs the command and returns its exit code.
func Main(p Process, v Version) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	return Run(ctx, p, v)
}

// Run is Main without signals.
func Run(ctx context.Context, p Process, v Version) int {
	a := &app{screen: render.NewScreen(p.In, p.Out, p.Err, p.Environ), version: v.orBuildInfo()}
	root := a.root()
	root.SetArgs(p.Args)
	root.SetIn(p.In)
	root.SetOut(a.screen.Out)
	root.SetErr(a.screen.Err)
	err := root.ExecuteContext(ctx)
	if err != nil && !a.started {
		err = usage(err, "millrace --help tells what there is")
	}
	return a.report(err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "millrace",
		Short:         "Continuous delivery as a stream: from a commit to a running container",
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			a.started = true
			return a.settings(cmd)
		},
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddGroup(
		&cobra.Group{ID: "start", Title: "Begin here:"},
		&cobra.Group{ID: "look", Title: "Look at deliveries:"},
		&cobra.Group{ID: "run", Title: "Run Millrace:"},
	)
	root.PersistentFlags().StringVar(&a.nats, "nats", "", "URL of the NATS server (MILLRACE_NATS_URL)")
	root.PersistentFlags().StringVar(&a.creds, "creds", "", "credentials file for NATS (MILLRACE_NATS_CREDS)")
	for group, commands := range map[string][]*cobra.Command{
		"start": {a.demo(), a.up(), a.deliver(), a.check()},
		"look":  {a.list(), a.show(), a.logs(), a.trace(), a.artifact(), a.verify(), a.sbom()},
		"run":   {a.publish(), a.cache(), a.keys(), a.serve(), a.provision(), a.healthcheck(), a.versionCommand()},
	} {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	return root
}

// report tells of an error and turns it into an exit code.
func (a *app) report(err error) int {
	if err == nil {
		return OK
	}
	p := explain(err)
	if p.err != nil {
		_, _ = fmt.Fprintf(a.screen.Err, "error: %v\n", p.err)
	}
	if p.hint != "" {
		_, _ = fmt.Fprintf(a.screen.Err, "hint: %s\n", p.hint)
	}
	return p.code
}

// say writes a line for people.
func (a *app) say(format string, args ...any) {
	_, _ = fmt.Fprintf(a.screen.Err, format+"\n", args...)
}

// between wants least to most arguments.
func between(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return usage(fmt.Errorf("%s takes %s", cmd.CommandPath(), what), "usage: "+cmd.UseLine())
		}
		return nil
	}
}
