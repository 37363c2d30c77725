package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/service"
)

// settings are those of the environment; flags come before them.
type settings struct {
	NATSURL   string `env:"NATS_URL" envDefault:"nats://127.0.0.1:4222"`
	NATSCreds string `env:"NATS_CREDS"`
	Progress  string `env:"PROGRESS" envDefault:"auto"`
}

// settings fills in what no flag says, and checks what the flags say.
func (a *app) settings(cmd *cobra.Command) error {
	env, err := service.Parse[settings]()
	if err != nil {
		return usage(err, "")
	}
	for flag, value := range map[*string]string{&a.nats: env.NATSURL, &a.creds: env.NATSCreds, &a.progress: env.Progress} {
		if *flag == "" {
			*flag = value
		}
	}
	if f := cmd.Flags().Lookup("output"); f != nil {
		if err := oneOf("--output", a.output, "table", "json", "name"); err != nil {
			return err
		}
	}
	return oneOf("--progress", a.progress, "auto", "tty", "plain", "json", "quiet")
}

func oneOf(what, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return usage(fmt.Errorf("%s is %q", what, value), "it is one of "+strings.Join(allowed, ", "))
}

// outputFlag is of commands that list or show.
func (a *app) outputFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&a.output, "output", "o", "table", "form of the data: table, json or name")
}

// progressFlag is of commands that follow.
func (a *app) progressFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.progress, "progress", "", "auto, tty, plain, json or quiet (MILLRACE_PROGRESS; default auto)")
}

// withBus connects for as long as do runs.
func (a *app) withBus(ctx context.Context, do func(context.Context, *bus.Bus) error) error {
	nc, err := bus.Dial(a.nats, "millrace-cli", a.creds)
	if err != nil {
		return err
	}
	defer nc.Close()
	b, err := bus.Open(nc)
	if err != nil {
		return err
	}
	return do(ctx, b)
}

// local tells whether NATS runs on this machine, and so, most likely, all the rest.
func (a *app) local() bool {
	u, err := url.Parse(a.nats)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// json writes data for programs.
func (a *app) json(v any) error {
	e := json.NewEncoder(a.screen.Out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// print writes a line of data.
func (a *app) print(args ...any) error {
	_, err := fmt.Fprintln(a.screen.Out, args...)
	return err
}
