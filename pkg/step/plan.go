package step

import (
	"fmt"
	"time"

	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/pipeline"
	"github.com/millrace-cd/millrace/pkg/secret"
	"github.com/millrace-cd/millrace/pkg/stage"
)

// one is a step's run: a variant where the step has a matrix.
type one struct {
	name    string
	spec    pipeline.Step
	vars    pipeline.Vars
	lane    int
	needs   []*one
	secrets secret.Values
	caches  []container.Mount
	key     string // of the verdict; "" where none may be reused
	first   *try   // prepared ahead
	began   time.Time

	done   chan struct{} // closed when result is set
	result event.Step
	ours   error // why the result is not known
}

// plan lists the runs. Those that a run waits for come before it, so that preparing
// them in turn cannot block.
func (w *work) plan() error {
	byName := map[string][]*one{}
	rest := w.Steps
	for len(rest) > 0 {
		var later []pipeline.Step
		for _, s := range rest {
			needs, ready := gather(s.Needs, byName)
			if !ready {
				later = append(later, s)
				continue
			}
			runs, err := w.unfold(s, needs)
			if err != nil {
				return err
			}
			byName[s.Name] = runs
			w.steps = append(w.steps, runs...)
		}
		if len(later) == len(rest) {
			return stage.Fail("step %s needs what does not exist, or itself", later[0].Name)
		}
		rest = later
	}
	return nil
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

// unfold makes the runs of a step, one for each combination of its matrix.
func (w *work) unfold(s pipeline.Step, needs []*one) ([]*one, error) {
	secrets, err := w.secrets(s.Secrets)
	if err != nil {
		return nil, fmt.Errorf("step %s: %w", s.Name, err)
	}
	var runs []*one
	for _, v := range s.Variants() {
		vars := w.Vars
		vars.Matrix = v.Matrix
		spec, err := s.Expand(vars)
		if err != nil {
			return nil, stage.Fail("step %s: %w", v.Name, err)
		}
		if _, ok := w.Images[spec.Image]; !ok {
			return nil, fmt.Errorf("step %s: image %s was not resolved", v.Name, spec.Image)
		}
		runs = append(runs, &one{
			name: v.Name, spec: spec, vars: vars, lane: (len(w.steps) + len(runs)) % cap(w.slots), needs: needs, secrets: secrets,
			done: make(chan struct{}), result: event.Step{Name: v.Name, Optional: s.Optional},
		})
	}
	return runs, nil
}

// secrets are the values of the names that a step or service asks for. A secret that
// is not set is the file's fault, as far as we can tell.
func (w *work) secrets(names map[string]string) (secret.Values, error) {
	if len(names) == 0 {
		return nil, nil
	}
	if w.Commit.Untrusted {
		return nil, stage.Fail("it asks for secrets, which an untrusted commit does not get")
	}
	values, err := w.Secrets.Values(secret.Scope{App: w.Owner.App}, names)
	if err != nil {
		return nil, stage.Fail("%w", err)
	}
	return values, nil
}
