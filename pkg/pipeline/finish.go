package pipeline

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

const (
	defaultTimeout = 30 * time.Minute // of a step
	defaultWithin  = time.Minute      // of a probe
)

// finish does what needs the whole file: defaults, names of steps, limits.
func (d *decoder) finish(f *File) {
	f.Release.Tags = tagsOrDefault(f.Release.Tags)
	if d.tooMany(f) {
		d.reportAt(0, 0, "the file has too many steps", fmt.Sprintf("with the variants of each matrix there may be %d", MaxSteps))
		return
	}
	for i := range d.placed {
		p := &d.placed[i]
		p.step.inherit(&f.Defaults)
		if _, ok := d.find(p.at, "image"); !ok && p.step.Image == "" {
			d.reportKey(p.at, "add an image to it, or to defaults", "%s has no image", p.what)
		}
		d.checkExclude(p)
	}
	d.checkNeeds()
}

// tooMany counts the steps without making the variants: there may be very many. It
// does not see what is excluded.
func (d *decoder) tooMany(f *File) bool {
	steps := len(d.placed)
	for _, t := range f.Deploy {
		steps += len(t.Drivers)
	}
	for _, p := range d.placed {
		runs := 1
		for _, choices := range p.step.Matrix {
			runs = min(runs*max(len(choices), 1), MaxSteps+1)
		}
		steps += runs - 1
	}
	return steps > MaxSteps
}

// inherit takes from the defaults what the step does not say itself.
func (s *Step) inherit(from *Defaults) {
	if s.Image == "" {
		s.Image = from.Image
	}
	if len(from.Env) > 0 {
		env := maps.Clone(from.Env)
		maps.Copy(env, s.Env)
		s.Env = env
	}
	if s.Cache == nil {
		s.Cache = slices.Clone(from.Cache)
	}
	if len(s.Shell) == 0 {
		s.Shell = []string{"/bin/sh", "-ec"}
	}
	s.Timeout = cmp.Or(s.Timeout, from.Timeout, defaultTimeout)
	s.Resources = Resources{
		CPU:    cmp.Or(s.Resources.CPU, from.Resources.CPU),
		Memory: cmp.Or(s.Resources.Memory, from.Resources.Memory),
		Pids:   cmp.Or(s.Resources.Pids, from.Resources.Pids),
	}
}

// checkExclude makes sure that what is excluded is there, and that something is left.
func (d *decoder) checkExclude(p *placed) {
	for _, entry := range p.exclude {
		if d.full() {
			break
		}
		pairs, _ := d.pairs(entry)
		for _, c := range pairs {
			d.checkChoice(c, p.step.Matrix)
		}
	}
	if len(p.step.Variants()) == 0 {
		d.reportKey(p.at, "remove an entry of exclude", "%s excludes its whole matrix", p.what)
	}
}

func (d *decoder) checkChoice(c value, matrix map[string][]string) {
	choices, ok := matrix[c.name]
	switch {
	case d.full():
	case !ok:
		d.reportKey(c, didYouMean(c.name, slices.Collect(maps.Keys(matrix))), "%s is not in the matrix", quote(c.name))
	case !slices.Contains(choices, c.node.Value):
		d.report(c, didYouMean(c.node.Value, choices), "%s of %s is not in the matrix", quote(c.node.Value), c.name)
	}
}
