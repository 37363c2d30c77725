package pipeline

import (
	"maps"
	"slices"
	"strings"
)

// needsCheck walks from step to step along what they need, each step once.
type needsCheck struct {
	d      *decoder
	places map[*Step]*placed
	done   map[*Step]bool
	way    []string // names of the steps that lead to where we are
}

// checkNeeds makes sure that what steps need is there beside them, and that no step
// needs itself in the end.
func (d *decoder) checkNeeds() {
	c := &needsCheck{d: d, places: map[*Step]*placed{}, done: map[*Step]bool{}}
	for i := range d.placed {
		c.places[d.placed[i].step] = &d.placed[i]
	}
	for i := range d.placed {
		c.visit(&d.placed[i])
	}
}

func (c *needsCheck) visit(p *placed) {
	if c.done[p.step] {
		return
	}
	c.done[p.step] = true
	c.way = append(c.way, p.step.Name)
	for _, v := range p.needs {
		c.follow(p, v)
	}
	c.way = c.way[:len(c.way)-1]
}

// follow goes on from p to one step that it needs.
func (c *needsCheck) follow(p *placed, v value) {
	name := v.node.Value
	next, ok := p.group[name]
	if !ok {
		if !c.d.full() {
			hint := didYouMean(name, slices.Collect(maps.Keys(p.group)))
			c.d.report(v, hint, "%s needs %s, which is no step beside it", p.what, quote(name))
		}
		return
	}
	if i := slices.Index(c.way, name); i >= 0 {
		c.d.report(v, "remove one of the needs", "steps wait for each other: %s", circle(c.way[i:]))
		return
	}
	if q := c.places[next]; q != nil {
		c.visit(q)
	}
}

// circle shows the way back to where it began.
func circle(way []string) string {
	const most = 8
	names := append(slices.Clone(way), way[0])
	if len(names) > most {
		names = slices.Concat(names[:most/2], []string{"…"}, names[len(names)-most/2:])
	}
	return strings.Join(names, " → ")
}
