package container

import (
	"fmt"

	"github.com/docker/docker/api/types/container"
)

// place is where a container comes to be: what it belongs to, what its host allows, and
// what the operator wants it to have.
type place struct {
	owner    Owner
	instance string
	session  string
	machine  machine
	operator Operator
	hosts    []string // names that no proxy knows
}

// place is the session's, for containers with that limit of open files.
func (s *Session) place(nofile int64) place {
	return place{
		owner: s.owner, instance: s.e.cfg.Instance, session: s.id,
		machine: machine{s.e.info.CPUs, nofile}, operator: s.e.cfg.Operator, hosts: s.opts.Services,
	}
}

// of is the place of one step or service.
func (p place) of(name string, attempt int) place {
	p.owner.Step, p.owner.Attempt = name, attempt
	return p
}

// labels mark what is made at the place.
func (p place) labels(kind string) map[string]string {
	return p.owner.labels(p.instance, p.session, kind)
}

// env is the environment of a container whose own is given, in the engine's form.
func (p place) env(own map[string]string) ([]string, error) {
	return environment(p.operator.env(own, p.hosts))
}

// furnish puts mounts into h, and what the operator wants to be mounted.
func (p place) furnish(h *container.HostConfig, mounts []Mount) error {
	for _, m := range mounts {
		if reserved(m.Target) {
			return fmt.Errorf("mount at %s: that belongs to millrace", m.Target)
		}
	}
	p.operator.addTo(h, p.labels(kindWorkspace))
	return addMounts(h, mounts, p.labels(kindWorkspace), cacheLabels(p.instance, p.owner.App))
}
