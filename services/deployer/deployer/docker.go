package deployer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/service"
	"github.com/millrace-cd/millrace/pkg/stage"
	"github.com/millrace-cd/millrace/pkg/step"
)

// stopGrace is how long a release that is replaced may take to end.
const stopGrace = 10 * time.Second

// rollout is a release that runs and passed its checks, beside what it replaces.
type rollout struct {
	app     *container.Running
	old     []*container.Running
	stopped []*container.Running // of the old ones, since they held a port
	current string               // name of the container that the record says runs
}

// roll starts the release beside what runs and checks it. Where it needs a port of
// the host that an old one holds, that one is stopped first, and started again if
// the new release fails.
func (d deployer) roll(ctx context.Context, p plan, current string) (*rollout, error) {
	if _, err := d.kit.Pull(ctx, p.image); err != nil {
		return nil, err
	}
	r := &rollout{current: current}
	if err := d.survey(ctx, p, r); err != nil {
		return nil, err
	}
	if err := d.launch(ctx, p, r); err != nil {
		return nil, errors.Join(err, r.undo(ctx))
	}
	if err := d.check(ctx, p, r); err != nil {
		return nil, errors.Join(err, r.undo(ctx))
	}
	return r, nil
}

// survey finds what runs. A container of this very delivery is left from an attempt
// that did not end: it is taken over if it runs, else made anew.
func (d deployer) survey(ctx context.Context, p plan, r *rollout) error {
	apps, err := d.kit.Engine.Apps(ctx, p.app, p.environment)
	if err != nil {
		return err
	}
	for _, a := range apps {
		switch {
		case a.Owner.Delivery != p.number:
			r.old = append(r.old, a)
		case a.State == "running" && a.Image == p.image:
			r.app = a
		default:
			if err := a.Remove(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// launch starts the new container.
func (d deployer) launch(ctx context.Context, p plan, r *rollout) error {
	if r.app != nil {
		return nil
	}
	docker := p.target.Drivers[0].Docker
	for _, o := range r.old {
		if o.State != "running" {
			if o.Name == r.current { // an attempt that was killed had stopped it
				r.stopped = append(r.stopped, o)
			}
			continue
		}
		if !clash(o, docker.Publish) {
			continue
		}
		if err := o.Stop(ctx, stopGrace); err != nil {
			return err
		}
		r.stopped = append(r.stopped, o)
	}
	return d.start(ctx, p, r)
}

func (d deployer) start(ctx context.Context, p plan, r *rollout) (err error) {
	ctx, span := d.kit.Tracer.Start(ctx, "start container")
	defer span.End()
	docker := p.target.Drivers[0].Docker
	r.app, err = d.kit.Engine.Start(ctx, container.App{
		Name:  fmt.Sprintf("%s-%d", p.name(d.kit.Engine.Instance()), p.number),
		Owner: container.Owner{App: p.app, Delivery: p.number, Stage: event.StageDeploy, Environment: p.environment},
		Image: p.image, Env: maps.Clone(p.target.Env), Publish: docker.Publish,
		Network: p.network(d.kit.Engine.Instance(), docker.Network), Aliases: []string{p.app}, Mounts: mounts(d.kit.Engine.Instance()+"."+p.app+"."+p.environment, docker.Volumes), Limits: step.Limits(docker.Resources),
	})
	if errors.Is(err, container.ErrPortTaken) || errors.Is(err, container.ErrStep) {
		return stage.Fail("%w", err)
	}
	return err
}

// name is what the environment's objects on the engine are called; with the instance
// where it is not the usual one, since several may share an engine.
func (p plan) name(instance string) string {
	if instance == service.DefaultInstance {
		return p.app + "-" + p.environment
	}
	return instance + "-" + p.app + "-" + p.environment
}

// network is what a network of the file is called on the engine: each app has its own,
// so that a file cannot name its way into another app's, or into ours. No part of the
// name may hold the dots between them.
func (p plan) network(instance, name string) string {
	if name == "" {
		return ""
	}
	return "millrace-" + instance + "." + p.app + "." + name
}

// mounts are the volumes of the environment, which outlive its releases. A spec is
// name:/path or name:/path:ro; the pipeline file allows no other.
func mounts(owner string, specs []string) (list []container.Mount) {
	for _, spec := range specs {
		parts := strings.Split(spec, ":")
		list = append(list, container.Mount{
			Target: parts[1], Volume: "millrace-data." + owner + "." + parts[0], ReadOnly: len(parts) > 2,
		})
	}
	return list
}

// clash tells whether a container holds a port of the host that a new one wants.
func clash(old *container.Running, publish []string) bool {
	return slices.ContainsFunc(publish, func(spec string) bool {
		parts := strings.Split(strings.Split(spec, "/")[0], ":")
		if len(parts) < 2 {
			return false // a free port
		}
		want := parts[len(parts)-2]
		return slices.ContainsFunc(old.Ports, func(p container.Port) bool { return strconv.Itoa(p.Host) == want })
	})
}

// check asks the release whether it is well; what it answers else is the commit's
// fault.
func (d deployer) check(ctx context.Context, p plan, r *rollout) error {
	ctx, span := d.kit.Tracer.Start(ctx, "check")
	defer span.End()
	comfort := ""
	if len(r.old) > 0 {
		comfort = "; what ran there still does"
	}
	for _, c := range p.checks {
		err := r.app.Probe(ctx, *step.Probe(&c))
		if unready := new(container.NotReady); errors.As(err, &unready) {
			return stage.Fail("the release does not pass its check in %s%s: %w", p.environment, comfort, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// undo removes the new release and brings back what was stopped for it. Who has lost
// the environment's lease leaves everything to the next holder, who may have made it
// its own.
func (r *rollout) undo(ctx context.Context) error {
	if errors.Is(context.Cause(ctx), bus.ErrLost) {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	var errs []error
	if r.app != nil {
		errs = append(errs, r.app.Remove(ctx))
	}
	for _, o := range r.stopped {
		errs = append(errs, o.StartAgain(ctx))
	}
	return errors.Join(errs...)
}

// commit removes what was replaced; its image stays for a rollback.
func (d deployer) commit(ctx context.Context, r *rollout) error {
	ctx, span := d.kit.Tracer.Start(ctx, "remove what was replaced")
	defer span.End()
	var errs []error
	for _, o := range r.old {
		errs = append(errs, o.Stop(ctx, stopGrace), o.Remove(ctx))
	}
	return errors.Join(errs...)
}

// url is where the release answers on the host; "" where it publishes nothing.
func (r *rollout) url() string {
	for _, p := range r.app.Ports {
		if p.Protocol != "tcp" || p.Host == 0 {
			continue
		}
		host := p.HostIP
		if host == "" || host == "0.0.0.0" || host == "::" {
			host = "127.0.0.1"
		}
		return "http://" + net.JoinHostPort(host, strconv.Itoa(p.Host))
	}
	return ""
}

// digestOf is the digest in name@digest.
func digestOf(image string) string {
	_, digest, _ := strings.Cut(image, "@")
	return digest
}
