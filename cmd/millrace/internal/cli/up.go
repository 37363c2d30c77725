package cli

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"

	"github.com/millrace-cd/millrace/cmd/millrace/internal/embedded"
	"github.com/millrace-cd/millrace/cmd/millrace/internal/render"
	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/delivery"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/service"
	"github.com/millrace-cd/millrace/services/releaser/releaser"
)

// upOptions are the flags of up.
type upOptions struct {
	data               string
	natsPort, registry int
	instance           string
	concurrency        int
	purge, verbose     bool
}

func (a *app) up() *cobra.Command {
	var o upOptions
	cmd := &cobra.Command{
		Use: "up", Short: "Run all of Millrace in this process, until Ctrl-C",
		Long: "Run NATS, a registry and the four services in this process, until Ctrl-C.\nThey listen on this machine only and keep their data for the next time; repositories on this machine can be delivered.",
		Args: between(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runUp(cmd.Context(), o) },
	}
	cmd.Flags().StringVar(&o.data, "data", "", "data directory ($XDG_DATA_HOME/millrace)")
	cmd.Flags().IntVar(&o.natsPort, "nats-port", 4222, "port of NATS on 127.0.0.1; 0 takes a free one")
	cmd.Flags().IntVar(&o.registry, "registry-port", 5000, "port of the registry on 127.0.0.1; 0 takes a free one")
	cmd.Flags().StringVar(&o.instance, "instance", "default", "whose containers these are, where several Millraces share a Docker engine")
	cmd.Flags().IntVar(&o.concurrency, "concurrency", 2, "deliveries that a service works on at the same time")
	cmd.Flags().BoolVar(&o.purge, "purge", false, "at the end, remove all of it from the engine, deployed containers too")
	cmd.Flags().BoolVar(&o.verbose, "verbose", false, "show the services' logs")
	return cmd
}

func (a *app) runUp(ctx context.Context, o upOptions) error {
	if o.data == "" {
		dir, err := a.dataDir()
		if err != nil {
			return err
		}
		o.data = dir
	}
	unlock, err := lock(o.data)
	if err != nil {
		return err
	}
	defer unlock()
	settings, err := service.Parse[service.Config]()
	if err != nil {
		return usage(err, "")
	}
	own, err := service.Parse[releaser.Config]()
	if err != nil {
		return usage(err, "")
	}
	options := embedded.Options{
		Settings: settings, Releaser: own, Dir: o.data, Protocols: []string{"https", "ssh", "file"}, Instance: o.instance, Concurrency: o.concurrency, Log: a.serviceLog(o.verbose),
	}
	if options.NATSAddr, err = loopback(ctx, o.natsPort); err != nil {
		return err
	}
	if options.RegistryAddr, err = loopback(ctx, o.registry); err != nil {
		return err
	}
	e, err := embedded.Start(ctx, options)
	if err != nil {
		return portTaken(err)
	}
	a.welcome(e, o)
	err = a.tellFacts(ctx, e)
	a.say("stopping; what runs is handed back and goes on with the next millrace up")
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if o.purge {
		err = errors.Join(err, e.Purge(stop))
	}
	return errors.Join(err, e.Close(stop))
}

// welcome says where what is, and what to do next.
func (a *app) welcome(e *embedded.Embedded, o upOptions) {
	a.say("%s", render.Bold("Millrace is up"))
	a.say("  nats      %s", e.NATSURL)
	a.say("  registry  %s", e.Registry)
	a.say("  services  tester, builder, releaser, deployer")
	a.say("  data      %s", o.data)
	flag := ""
	if o.natsPort != 4222 {
		flag = " --nats " + e.NATSURL
	}
	a.say("\nIn a git repository with a millrace.yaml, in a second terminal: %s", render.Bold("millrace deliver"+flag))
	a.say("%s\n", render.Dim("Ctrl-C stops it; deployed containers go on running."))
}

// tellFacts writes a line for each stage that ends, until ctx ends or a service cannot
// go on.
func (a *app) tellFacts(ctx context.Context, e *embedded.Embedded) error {
	began := time.Now()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		select {
		case err := <-e.Failed():
			cancel(err)
		case <-ctx.Done():
		}
	}()
	err := e.Bus.Follow(ctx, bus.Deliveries, []string{"delivery.>"}, func(entry bus.Entry) error {
		if f, err := event.Decode(entry.Data); err == nil && entry.Stored.After(began) {
			a.tellFact(f)
		}
		return nil
	})
	cancel(nil)
	<-watching
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

func (a *app) tellFact(f event.Fact) {
	s := delivery.Stage{Name: f.StageName, Environment: f.Environment}
	a.say("%s  %s %d  %s  %s  %s", render.Dim(f.Finished.Local().Format(time.TimeOnly)), delivery.Text(f.App), f.Number,
		s.Title(), render.State(delivery.State(f.Outcome)), render.FirstLine(f.Reason, 100))
}

// dataDir is where the platform's rules want data.
func (a *app) dataDir() (string, error) {
	if dir := a.screen.Lookup("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "millrace"), nil
	}
	home := a.screen.Lookup("HOME")
	if home == "" {
		return "", usage(errors.New("there is no home directory to keep data in"), "choose one: --data DIR")
	}
	return filepath.Join(home, ".local", "share", "millrace"), nil
}

// serviceLog is where the embedded services log: nowhere unless asked.
func (a *app) serviceLog(verbose bool) *slog.Logger {
	if !verbose {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(tint.NewTextHandler(a.screen.Err, &tint.Options{Level: slog.LevelInfo, TimeFormat: time.TimeOnly, NoColor: !render.Coloured(a.screen.Err)}))
}

// loopback is an address of this machine; for port 0 one that nobody listens on.
func loopback(ctx context.Context, port int) (string, error) {
	if port != 0 {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), nil
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// portTaken names the flags that help.
func portTaken(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return problem{err, System, "choose other ports: --nats-port, --registry-port"}
	}
	return err
}
