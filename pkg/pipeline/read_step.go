package pipeline

import (
	"maps"
	"math"
	"slices"

	"go.yaml.in/yaml/v4"
)

// placed is a step with its place, to finish it when the whole file is read.
type placed struct {
	step    *Step
	at      value
	what    string
	needs   []value
	exclude []value
	group   map[string]*Step // nil for the build
}

// group reads steps by their names: those of test or of acceptance.
func (d *decoder) group(to *map[string]*Step, order *[]string) reader {
	return func(v value) {
		steps := map[string]*Step{}
		*to = steps
		*order = d.named(v, "a step", func(p value) {
			s := newStep(p.name)
			steps[p.name] = s
			d.step(p, s, steps)
		})
	}
}

// newStep has the defaults that the file cannot change, or that hold unless the
// step says otherwise.
func newStep(name string) *Step {
	return &Step{Name: name, Network: true, Sandbox: "practical"}
}

func (d *decoder) step(v value, s *Step, group map[string]*Step) {
	p := placed{step: s, at: v, what: labelled("step", s.Name), group: group}
	names := d.known
	names.matrix = d.matrixNames(v)
	defer d.within(names)()
	known := d.core(s)
	maps.Copy(known, keys{
		"needs":      d.needs(&p),
		"paths":      d.plains(&s.Paths, filled),
		"matrix":     d.some(d.matrix(&s.Matrix)),
		"exclude":    d.exclude(&p),
		"reports":    d.reports(&s.Reports),
		"quarantine": d.plains(&s.Quarantine, filled),
		"optional":   d.boolean(&s.Optional),
	})
	if d.mapping(v, p.what, known, "run") {
		d.placed = append(d.placed, p)
	}
}

// core are the keys that steps and the build have in common.
func (d *decoder) core(s *Step) keys {
	return keys{
		"image":     d.text(&s.Image, image),
		"run":       d.some(d.script(&s.Run)),
		"shell":     d.texts(&s.Shell),
		"env":       d.env(&s.Env),
		"secrets":   d.secrets(&s.Secrets),
		"services":  d.services(&s.Services, &s.ServiceOrder),
		"cache":     d.caches(&s.Cache),
		"timeout":   d.duration(&s.Timeout),
		"retries":   whole(d, &s.Retries, 0, 5),
		"resources": d.resources(&s.Resources),
		"workdir":   d.text(&s.Workdir, filled),
		"user":      d.user(&s.User),
		"network":   d.boolean(&s.Network),
		"sandbox":   d.oneOf(&s.Sandbox, "practical", "strict"),
	}
}

func (d *decoder) build(v value, b *Build) {
	b.Step = *newStep("build")
	known := d.core(&b.Step)
	maps.Copy(known, keys{
		"artifacts":    d.some(d.texts(&b.Artifacts, inside)),
		"platforms":    d.platforms(&b.Platforms),
		"reproducible": d.boolean(&b.Reproducible),
	})
	if d.mapping(v, "build", known, "run", "artifacts") {
		d.placed = append(d.placed, placed{step: &b.Step, at: v, what: "build"})
	}
}

func (d *decoder) platforms(to *[]string) reader {
	return d.some(d.plains(to, matches(isPlatform, "a platform", "write linux/amd64 or linux/arm64")))
}

// needs keeps the places of the names, to check them when all steps are known.
func (d *decoder) needs(p *placed) reader {
	return func(v value) {
		d.plains(&p.step.Needs)(v)
		if v.node.Kind == yaml.SequenceNode {
			p.needs = items(v)
		}
	}
}

// matrixNames are the names in the matrix of a step that is not read yet.
func (d *decoder) matrixNames(step value) []string {
	m, ok := d.find(step, "matrix")
	if !ok || m.node.Kind != yaml.MappingNode {
		return nil
	}
	var names []string
	pairs, _ := d.pairs(m)
	for _, p := range pairs {
		names = append(names, p.name)
	}
	return names
}

func (d *decoder) matrix(to *map[string][]string) reader {
	return func(v value) {
		defer d.within(scope{})()
		all := map[string][]string{}
		pairs, _ := d.pairs(v)
		for _, p := range pairs {
			if !isEnvName.MatchString(p.name) {
				d.reportKey(p, "use letters, digits and _ . -, no digit first", "%s is no name in matrix", quote(p.name))
			}
			d.some(func(v value) { d.list(v, d.choice(all)) })(p)
		}
		*to = all
	}
}

// choice reads one value of a matrix: a text or a number, as it is written.
func (d *decoder) choice(all map[string][]string) reader {
	return func(v value) {
		text := d.word(v, tagInt, tagFloat)
		if len(all[v.name]) <= MaxSteps && slices.Contains(all[v.name], text) {
			d.report(v, "remove one", "%s is in %s twice", quote(text), v.name)
		}
		all[v.name] = append(all[v.name], text)
	}
}

// exclude reads combinations; whether they are in the matrix is checked when that
// is known to be small.
func (d *decoder) exclude(p *placed) reader {
	return func(v value) {
		defer d.within(scope{})()
		if !d.list(v, func(value) {}) {
			return
		}
		p.exclude = items(v)
		for _, i := range p.exclude {
			entry := map[string]string{}
			pairs, _ := d.pairs(i)
			for _, c := range pairs {
				entry[c.name] = d.word(c, tagBool, tagInt, tagFloat)
			}
			p.step.Exclude = append(p.step.Exclude, entry)
		}
	}
}

func (d *decoder) reports(r *Reports) reader {
	return func(v value) {
		d.mapping(v, "reports", keys{
			"junit":    d.text(&r.JUnit, inside),
			"coverage": d.coverage(&r.Coverage),
			"files":    d.texts(&r.Files, inside),
		})
	}
}

func (d *decoder) coverage(c *Coverage) reader {
	return func(v value) {
		if v.node.Kind != yaml.MappingNode {
			d.text(&c.File, inside)(v)
			return
		}
		d.mapping(v, "coverage", keys{
			"file": d.text(&c.File, inside),
			"min":  d.real(&c.Min, 0, 100),
		}, "file")
	}
}

func (d *decoder) services(to *map[string]*Service, order *[]string) reader {
	return func(v value) {
		all := map[string]*Service{}
		*to = all
		*order = d.named(v, "a service", func(p value) {
			s := &Service{Name: p.name}
			all[p.name] = s
			d.service(p, s)
		})
	}
}

func (d *decoder) service(v value, s *Service) {
	d.mapping(v, labelled("service", s.Name), keys{
		"image":     d.text(&s.Image, image),
		"env":       d.env(&s.Env),
		"secrets":   d.secrets(&s.Secrets),
		"command":   d.texts(&s.Command),
		"ready":     d.ready(&s.Ready),
		"tmpfs":     d.texts(&s.Tmpfs, absolute),
		"resources": d.resources(&s.Resources),
	}, "image")
}

func (d *decoder) ready(to **Probe) reader {
	return func(v value) {
		*to = &Probe{}
		d.probe(v, *to)
	}
}

func (d *decoder) probe(v value, p *Probe) {
	p.Within = defaultWithin
	const minStatus, maxStatus = 100, 599
	what := "the probe " + v.name
	ok := d.mapping(v, what, keys{
		"http":   d.text(&p.HTTP, unlessVariable(matches(isHTTPProbe, "something to ask", "write :8080/healthz or a full URL"))),
		"status": whole(d, &p.Status, minStatus, maxStatus),
		"tcp":    whole(d, &p.TCP, 1, math.MaxUint16),
		"run":    d.some(d.script(&p.Run)),
		"log":    d.plain(&p.Log, expression),
		"every":  d.duration(&p.Every),
		"within": d.duration(&p.Within),
	})
	if !ok {
		return
	}
	d.onlyOne(v, what, "question", "keep one", "http", "tcp", "run", "log")
	status, hasStatus := d.find(v, "status")
	if _, hasHTTP := d.find(v, "http"); hasStatus && !hasHTTP {
		d.reportKey(status, "remove it", "status without http")
	}
}
