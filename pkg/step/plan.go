package step

import (
	"fmt"
	"maps"

	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/pipeline"
	"github.com/millrace-cd/millrace/pkg/stage"
)

// plan are a group's runs in the file's order. Those that a run waits for come
// before it in order, so that preparing them in turn cannot block.
type plan struct{ steps []*one }

// newPlan unfolds matrices and resolves needs. The pipeline file was checked, so
// what is wrong here is its writer's fault all the same.
func newPlan(g Group) (*plan, error) {
	p := &plan{}
	byName := map[string][]*one{}
	rest := g.Steps
	for len(rest) > 0 {
		var later []pipeline.Step
		for _, s := range rest {
			needs, ready := gather(s.Needs, byName)
			if !ready {
				later = append(later, s)
				continue
			}
			runs, err := unfold(s, g, needs)
			if err != nil {
				return nil, err
			}
			byName[s.Name] = runs
			p.steps = append(p.steps, runs...)
		}
		if len(later) == len(rest) {
			return nil, stage.Fail("step %s needs what does not exist, or itself", later[0].Name)
		}
		rest = later
	}
	return p, nil
}

func gather(names []string, byName map[string][]*one) (needs []*one, ready bool) {
	for _, n := range names {
		runs, ok := byName[n]
		if !ok {
			return nil, false
		}
		needs = append(needs, runs...)
	}
	return needs, true
}

// supported refuses by name what this version cannot do yet: a step that ran without
// it would not be the one that the file means.
func supported(s pipeline.Step) error {
	for what, asked := range map[string]bool{
		"services": len(s.Services) > 0, "cache": len(s.Cache) > 0, "secrets": len(s.Secrets) > 0, "retries": s.Retries > 0,
		"reports": s.Reports.JUnit != "" || s.Reports.Coverage.File != "" || len(s.Reports.Files) > 0, "quarantine": len(s.Quarantine) > 0,
	} {
		if asked {
			return stage.Fail("step %s: %s is not supported by this version of millrace", s.Name, what)
		}
	}
	return nil
}

func unfold(s pipeline.Step, g Group, needs []*one) ([]*one, error) {
	if err := supported(s); err != nil {
		return nil, err
	}
	var runs []*one
	for _, v := range s.Variants() {
		vars := g.Vars
		vars.Matrix = v.Matrix
		spec, err := s.Expand(vars)
		if err != nil {
			return nil, stage.Fail("step %s: %w", v.Name, err)
		}
		if _, ok := g.Images[spec.Image]; !ok {
			return nil, fmt.Errorf("step %s: image %s was not resolved", v.Name, spec.Image)
		}
		runs = append(runs, &one{
			name: v.Name, spec: spec, vars: vars, needs: needs, done: make(chan struct{}),
			result: event.Step{Name: v.Name, Optional: s.Optional},
		})
	}
	return runs, nil
}

// env is what the step's processes find in their environment.
func (o *one) env(g Group, trace map[string]string) map[string]string {
	env := o.vars.Env()
	maps.Copy(env, trace)
	maps.Copy(env, g.Env)
	maps.Copy(env, o.spec.Env)
	return env
}
