package releaser

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/pipeline"
	"github.com/millrace-cd/millrace/pkg/secret"
	"github.com/millrace-cd/millrace/pkg/service"
	"github.com/millrace-cd/millrace/pkg/stage"
	"github.com/millrace-cd/millrace/pkg/step"
)

// environment is where a release runs as in production: on a network of its own, beside
// its services, with its secrets and limits.
type environment struct {
	releaser
	release pipeline.Release
	group   step.Group // of all that runs in it; without steps
	before  []event.Step
}

// open makes the network and starts the services.
func (e *environment) open(ctx context.Context, pins map[string]string, steps []pipeline.Step) error {
	all, inner := errgroup.WithContext(ctx)
	all.Go(func() (err error) {
		e.group.Images, err = e.kit.Resolve(inner, pins, imagesOf(e.release, steps, e.group.Vars)...)
		return err
	})
	all.Go(func() (err error) {
		inner, span := e.kit.Tracer.Start(inner, "make environment")
		defer span.End()
		e.group.Session, err = e.kit.Engine.Open(inner, e.group.Owner, container.SessionOptions{Network: container.Private, Services: hosts(e.release, steps)})
		return err
	})
	if err := all.Wait(); err != nil || len(e.release.Environment.Services) == 0 {
		return err
	}
	return e.steps.Services(ctx, e.group, e.release.Environment.Services, e.release.Environment.ServiceOrder)
}

// close lets everything go that runs in the environment.
func (e *environment) close(ctx context.Context) {
	if e.group.Session != nil {
		e.group.Session.Close(ctx)
	}
}

// start runs what has to happen before, and then the release, until it is ready.
func (e *environment) start(ctx context.Context, name string) error {
	ctx, span := e.kit.Tracer.Start(ctx, "start release")
	defer span.End()
	image, err := e.kit.Pull(ctx, name)
	if err != nil {
		return err
	}
	if err := e.prepare(ctx, image); err != nil {
		return err
	}
	values, err := e.steps.SecretsOf(e.group, e.release.Environment.Secrets)
	if err != nil {
		return fmt.Errorf("release.environment: %w", err)
	}
	all, inner := errgroup.WithContext(ctx)
	for range e.release.Environment.Replicas {
		all.Go(func() error { return e.replica(inner, image, values) })
	}
	return all.Wait()
}

// replica starts one container of the release. That it does not get ready is the
// commit's fault.
func (e *environment) replica(ctx context.Context, image container.Image, values secret.Values) error {
	_, err := e.group.Session.Service(ctx, container.Service{
		Name: service.ReleaseHost, Attempt: e.group.Owner.Attempt, Image: image.Pinned,
		Env: e.release.Environment.Env, Secrets: values,
		Limits: step.Limits(e.release.Environment.Resources), Ready: step.Probe(e.release.Ready),
	})
	if unready := new(container.NotReady); errors.As(err, &unready) {
		return stage.Fail("the release does not get ready: %s", secret.MaskString(unready.Error(), values.List()))
	}
	return err
}

// beforeTimeout is how long migrations may take: as long as any step.
const beforeTimeout = 30 * time.Minute

// tailOfBefore is how many lines of a failure's output its reason tells.
const tailOfBefore = 20

// prepare runs what has to happen before the release starts, in containers of its image.
func (e *environment) prepare(ctx context.Context, image container.Image) error {
	commands := beforeSteps(e.release.Environment)
	if len(commands) == 0 {
		return nil
	}
	g := e.group
	g.Images = map[string]container.Image{service.ReleaseHost: image}
	g.Steps, g.Bare, g.Tail, g.FailFast = commands, true, tailOfBefore, true
	var err error
	if e.before, err = e.steps.Run(ctx, g); err != nil {
		return err
	}
	if err := step.Failure(e.before); err != nil {
		return stage.Fail("before the release starts: %w", err)
	}
	return nil
}

// words are a command that needs no shell.
var words = regexp.MustCompile(`^[\w./:=@%+,-]+( +[\w./:=@%+,-]+)*$`)

// beforeSteps are the commands as steps. An image from scratch has no shell, so lines of
// mere words are run as they are, one after another; with anything else among them the
// lines are a script.
func beforeSteps(e pipeline.ReleaseEnvironment) (steps []pipeline.Step) {
	one := pipeline.Step{
		Name: "before", Image: service.ReleaseHost, Env: e.Env, Secrets: e.Secrets, Resources: e.Resources, Network: true, Timeout: beforeTimeout,
	}
	for i, line := range e.Before {
		s := one
		s.Shell = strings.Fields(line)
		if !words.MatchString(line) || ofShell(s.Shell[0]) {
			one.Run = e.Before
			return []pipeline.Step{one}
		}
		if i > 0 {
			s.Name, s.Needs = fmt.Sprintf("before-%d", i+1), []string{steps[i-1].Name}
		}
		steps = append(steps, s)
	}
	return steps
}

// ofShell tells whether a command is one only in a shell.
func ofShell(command string) bool {
	return slices.Contains([]string{".", "cd", "eval", "exec", "exit", "export", "set", "source", "trap", "ulimit", "umask", "unset", "wait"}, command)
}
