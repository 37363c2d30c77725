package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/millrace-cd/millrace/cmd/millrace/internal/render"
	"github.com/millrace-cd/millrace/pkg/delivery"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/service"
	"github.com/millrace-cd/millrace/pkg/store"
)

// choose finds the blob that is asked for.
func (c artifactCall) choose(d delivery.Delivery) (stored, error) {
	s := stored{Delivery: d.Number, App: d.App, Platform: c.platform}
	switch {
	case c.reports != "":
		return s.ofStep(d, c.reports)
	case d.Artifact.Digest == "":
		return s, noArtifact(d)
	case c.platform == "":
		s.Blob = d.Artifact
		for platform, b := range d.Platforms {
			if b.Digest == d.Artifact.Digest && (s.Platform == "" || platform < s.Platform) {
				s.Platform = platform
			}
		}
		return s, nil
	}
	blob, ok := d.Platforms[c.platform]
	if !ok {
		return s, problem{fmt.Errorf("delivery %d has no artifact for %s", d.Number, c.platform), NotFound, thereAre(slices.Sorted(maps.Keys(d.Platforms)), "its file names no platforms: leave --platform out")}
	}
	s.Blob = blob
	return s, nil
}

// ofStep is what a step kept.
func (s stored) ofStep(d delivery.Delivery, name string) (stored, error) {
	var kept []string
	for _, st := range d.Stages {
		for _, step := range st.Steps {
			if step.Reports == nil {
				continue
			}
			s.Step, s.Blob = st.Name+"/"+step.Name, *step.Reports
			if name == step.Name || name == s.Step {
				return s, nil
			}
			kept = append(kept, s.Step)
		}
	}
	return s, problem{fmt.Errorf("delivery %d has no reports of a step %s", d.Number, delivery.Text(name)), NotFound, thereAre(kept, "none of its steps kept any: a step keeps what its reports.files name")}
}

// thereAre lists what there is instead.
func thereAre(names []string, none string) string {
	if len(names) == 0 {
		return none
	}
	return delivery.Text("there are: " + strings.Join(names, ", "))
}

// noArtifact says why there is none.
func noArtifact(d delivery.Delivery) error {
	show := fmt.Sprintf("millrace show %d", d.Number)
	if s, bad := d.Culprit(); bad {
		return problem{fmt.Errorf("delivery %d has no artifact: it ended at %s, %s: %s", d.Number, delivery.Text(s.Title()), s.State, render.FirstLine(s.Reason, 200)), NotFound, show + " tells more"}
	}
	if !d.State.Ended() {
		return problem{fmt.Errorf("delivery %d has no artifact yet: it is %s", d.Number, d.State), NotFound, show + " -f follows it"}
	}
	return problem{fmt.Errorf("delivery %d has no artifact", d.Number), NotFound, show + " tells more"}
}

// registry says where the registry is, if it is not where the deliveries say.
type registry struct {
	Registry string `env:"REGISTRY"`
	Public   string `env:"REGISTRY_PUBLIC"`
	Insecure bool   `env:"REGISTRY_INSECURE"`
}

// storeOf opens the registry that has a blob.
func (a *app) storeOf(b event.Blob) (*store.Store, error) {
	r, err := service.Parse[registry]()
	if err != nil {
		return nil, usage(err, "")
	}
	i := strings.LastIndex(b.Repository, "/millrace/")
	if i < 0 {
		return nil, fmt.Errorf("the delivery says that it is in %q, which is no repository of Millrace's", b.Repository)
	}
	if r.Public == "" {
		r.Public = b.Repository[:i]
	}
	if r.Registry == "" {
		r.Registry = r.Public
	}
	return store.Open(store.Config{Registry: r.Registry, Public: r.Public, Insecure: r.Insecure})
}

// unreachable says what helps against an error of the registry.
func unreachable(err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, store.ErrMissing):
		return problem{err, NotFound, "it may have been removed from the registry; a new delivery of the commit makes it again"}
	case errors.Is(err, store.ErrCorrupt):
		return problem{err, System, "what the registry has is not what was built: do not use it"}
	}
	return problem{err, System, "where the registry has another name here, say it: MILLRACE_REGISTRY=HOST:PORT"}
}
