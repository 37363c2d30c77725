package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace-cd/millrace/cmd/millrace/internal/embedded"
	"github.com/millrace-cd/millrace/cmd/millrace/internal/hello"
	"github.com/millrace-cd/millrace/cmd/millrace/internal/render"
	"github.com/millrace-cd/millrace/cmd/millrace/internal/repo"
	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/delivery"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/service"
)

func (a *app) demo() *cobra.Command {
	var keep, verbose bool
	cmd := &cobra.Command{
		Use: "demo", Short: "See a commit go all the way to a running container",
		Long: "See a commit go all the way to a running container, with nothing but Docker and git.\nEverything that it makes it removes again, also after Ctrl-C.",
		Args: between(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &demo{app: a, keep: keep, verbose: verbose}
			return d.run(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "stay until Ctrl-C, to look around")
	cmd.Flags().BoolVar(&verbose, "verbose", false, "show the services' logs")
	a.progressFlag(cmd)
	return cmd
}

// demo is one run of it.
type demo struct {
	*app
	keep, verbose bool

	instance string
	dir      string
	engine   *container.Engine
	millrace *embedded.Embedded
	commit   event.Commit
	undo     []func(context.Context) error // in the order of the doing
}

// run shows everything, and removes everything.
func (d *demo) run(ctx context.Context) (err error) {
	d.instance = fmt.Sprintf("demo-%d", os.Getpid())
	defer func() {
		if cleanErr := d.clean(ctx); cleanErr != nil {
			err = errors.Join(err, fmt.Errorf("clean up: %w", cleanErr))
		}
	}()
	d.line("%s\n", render.Bold("Millrace demo: a commit goes all the way to a running container"))
	for _, step := range []func(context.Context) error{d.connect, d.images, d.sample, d.start} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return d.deliver(ctx)
}

func (d *demo) deliver(ctx context.Context) error {
	n, err := d.millrace.Bus.Publish(ctx, d.commit, d.caller())
	if err != nil {
		return err
	}
	d.heading("Commit " + d.commit.Short() + " is published")
	result, err := d.watch(ctx, d.millrace.Bus, n)
	if !result.State.Ended() {
		return errors.Join(err, ctx.Err())
	}
	d.line("%s", render.Sentence(result, time.Now()))
	if err := d.tails(ctx, d.millrace.Bus, result, d.screen.Out); err != nil || !result.State.Good() {
		return errors.Join(err, quiet(code(result.State)))
	}
	for _, look := range []func(context.Context, delivery.Delivery) error{d.answer, d.tree, d.where, d.next} {
		if err := look(ctx, result); err != nil {
			return err
		}
	}
	return nil
}

// answer asks the app that runs now.
func (d *demo) answer(ctx context.Context, result delivery.Delivery) error {
	d.heading("The app answers")
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	url := result.URL()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask the deployed app: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if err != nil {
		return fmt.Errorf("ask the deployed app: %w", err)
	}
	d.line("  GET %s  %s\n  %s", url, render.Dim(response.Status), render.Bold(delivery.Text(string(body))))
	return nil
}

func (d *demo) tree(ctx context.Context, result delivery.Delivery) error {
	d.heading("One trace, from the commit to production")
	root, err := delivery.Trace(ctx, d.millrace.Bus, result.Number)
	if err != nil {
		return err
	}
	return render.Trace(d.screen.Out, root)
}

// where tells that what runs is what was released, by digest.
func (d *demo) where(ctx context.Context, result delivery.Delivery) error {
	d.heading("What was tested is what runs")
	environments, err := d.millrace.Bus.Environments(ctx)
	if err != nil {
		return err
	}
	d.line("%s\n%s", render.Chain(result), strings.TrimRight(render.Runs(result, environments), "\n"))
	return nil
}

func (d *demo) next(ctx context.Context, result delivery.Delivery) error {
	d.heading("Next")
	if !d.keep {
		d.line("  millrace demo --keep   %s", render.Dim("the same, and it stays for you to look around"))
		d.line("  millrace up            %s", render.Dim("all of Millrace on this machine; then, in a repository of yours:"))
		d.line("  millrace check         %s", render.Dim("what is wrong with its millrace.yaml"))
		d.line("  millrace deliver       %s", render.Dim("deliver its commit and follow it"))
		return nil
	}
	n := result.Number
	d.line("  export MILLRACE_NATS_URL=%s   %s", d.millrace.NATSURL, render.Dim("in a second terminal, then:"))
	d.line("  millrace show %d", n)
	d.line("  millrace logs %d --stage test", n)
	d.line("  millrace trace %d", n)
	d.line("  cd %s   %s", filepath.Join(d.dir, "hello"), render.Dim("change something, commit it, and:"))
	d.line("  millrace deliver")
	d.line("\n%s", render.Dim("Ctrl-C ends it and removes everything."))
	select {
	case <-ctx.Done():
		return nil // that was the agreement
	case err := <-d.millrace.Failed():
		return err
	}
}

// connect finds the Docker engine.
func (d *demo) connect(ctx context.Context) (err error) {
	d.engine, err = container.Connect(ctx, container.Config{Instance: d.instance, Warm: -1})
	if err != nil {
		return err
	}
	d.later(func(context.Context) error { return d.engine.Close() })
	d.done("docker", "engine "+d.engine.Version())
	return nil
}

// sample makes a git repository of the example.
func (d *demo) sample(ctx context.Context) (err error) {
	if d.dir, err = os.MkdirTemp("", "millrace-demo-"); err != nil {
		return err
	}
	d.later(func(context.Context) error { return os.RemoveAll(d.dir) })
	files, err := hello.Files()
	if err != nil {
		return err
	}
	dir := filepath.Join(d.dir, "hello")
	if err := repo.Make(ctx, dir, files, "Say hello", d.screen.Environ); err != nil {
		return unready(err)
	}
	head, err := repo.Open(ctx, dir, d.screen.Environ)
	if err != nil {
		return err
	}
	d.commit = head.Commit
	d.commit.App, d.commit.Repository = "hello", head.FileURL()
	d.done("sample", fmt.Sprintf("git repository %q with a millrace.yaml, commit %s %q", "hello", head.Commit.Short(), head.Commit.Message))
	return nil
}

// start starts Millrace; others reach its NATS only where it is kept.
func (d *demo) start(ctx context.Context) error {
	settings, err := service.Parse[service.Config]()
	if err != nil {
		return usage(err, "")
	}
	o := embedded.Options{Settings: settings, Dir: filepath.Join(d.dir, "data"), Protocols: []string{"file"}, Instance: d.instance, Log: d.serviceLog(d.verbose)}
	if err := os.Mkdir(o.Dir, 0o700); err != nil {
		return err
	}
	if d.keep {
		addr, err := loopback(ctx, 0)
		if err != nil {
			return err
		}
		o.NATSAddr = addr
	}
	e, err := embedded.Start(ctx, o)
	if err != nil {
		return err
	}
	d.millrace = e
	d.later(func(ctx context.Context) error { return errors.Join(e.Purge(ctx), e.Close(ctx)) })
	d.done("millrace", "NATS, registry "+e.Registry+", tester, builder, releaser, deployer: all in this process")
	return nil
}

func (d *demo) later(undo func(context.Context) error) { d.undo = append(d.undo, undo) }

// clean undoes everything, also after Ctrl-C, and keeps at it when something fails.
func (d *demo) clean(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if len(d.undo) > 0 {
		d.say("%s", render.Dim("removing what was made …"))
	}
	var errs []error
	for _, undo := range slices.Backward(d.undo) {
		errs = append(errs, undo(ctx))
	}
	return errors.Join(errs...)
}

func (d *demo) heading(s string) { d.line("\n%s\n", render.Bold(s)) }

// done says that a piece is ready.
func (d *demo) done(what, how string) { d.line("  %s %-9s %s", render.Done(), what, how) }

func (d *demo) line(format string, args ...any) {
	_, _ = fmt.Fprintf(d.screen.Out, format+"\n", args...)
}
