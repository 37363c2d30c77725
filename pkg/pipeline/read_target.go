package pipeline

import (
	"maps"
	"slices"

	"go.yaml.in/yaml/v4"
)

// kinds are the drivers, in the order in which messages name them.
func kinds() []string {
	return []string{KindDocker, KindCompose, KindSwarm, KindKubernetes, KindAnsible, KindTerraform, KindCloudFormation, KindExec}
}

func (d *decoder) deploy(to *[]Target) reader {
	return func(v value) {
		defer d.within(scope{names: append(alwaysKnown(), deployKnown()...)})()
		d.list(v, func(i value) {
			var t Target
			d.target(i, &t)
			if len(*to) < MaxSteps && slices.ContainsFunc(*to, func(other Target) bool { return other.Name == t.Name && t.Name != "" }) {
				name, _ := d.find(i, "name")
				d.report(name, "give it another name", "there are two environments %s", quote(t.Name))
			}
			*to = append(*to, t)
		})
	}
}

func (d *decoder) target(v value, t *Target) {
	t.Rollback, t.Queue = "auto", "newest"
	what := "environment"
	if name, ok := d.find(v, "name"); ok {
		what = labelled(what, name.node.Value)
	}
	single := &Driver{}
	known := keys{
		"name":     d.plain(&t.Name, isAppName),
		"steps":    d.some(d.driverList(&t.Drivers)),
		"env":      d.env(&t.Env),
		"secrets":  d.secrets(&t.Secrets),
		"strategy": d.strategy(&t.Strategy),
		"check":    d.checks(v, &t.Check),
		"watch":    d.watch(&t.Watch),
		"rollback": d.oneOf(&t.Rollback, "auto", "manual", "off"),
		"approval": d.approval(&t.Approval),
		"window":   d.plains(&t.Window, matches(isWindow, "a window", "write Mon-Thu 09:00-16:00 Europe/Berlin")),
		"soak":     d.duration(&t.Soak),
		"lock":     d.text(&t.Lock, filled),
		"queue":    d.oneOf(&t.Queue, "newest", "all"),
		"timeout":  d.duration(&t.Timeout),
	}
	maps.Copy(known, d.driver(single))
	if !d.mapping(v, what, known, "name") {
		return
	}
	d.onlyOne(v, what, "driver", "keep one, or list both under steps", append([]string{"steps"}, kinds()...)...)
	if single.Kind != "" {
		t.Drivers = []Driver{*single}
	}
	if t.Lock == "" {
		t.Lock = t.Name
	}
}

// driverList reads drivers that run one after another.
func (d *decoder) driverList(to *[]Driver) reader {
	return func(v value) {
		known := d.known
		defer d.within(known)()
		d.list(v, func(i value) {
			var one Driver
			if d.mapping(i, "a step of deploy", d.driver(&one)) {
				d.onlyOne(i, "this step", "driver", "make it two steps", kinds()...)
			}
			d.known.terraform = d.known.terraform || one.Terraform != nil
			*to = append(*to, one)
		})
	}
}

// checks reads probes, which may use what terraform said.
func (d *decoder) checks(target value, to *[]Probe) reader {
	return func(v value) {
		known := d.known
		known.terraform = d.usesTerraform(target)
		defer d.within(known)()
		d.list(v, func(i value) {
			var p Probe
			d.probe(i, &p)
			*to = append(*to, p)
		})
	}
}

func (d *decoder) usesTerraform(target value) bool {
	if _, ok := d.find(target, KindTerraform); ok {
		return true
	}
	steps, ok := d.find(target, "steps")
	if !ok || steps.node.Kind != yaml.SequenceNode {
		return false
	}
	return slices.ContainsFunc(items(steps), func(i value) bool {
		_, ok := d.find(i, KindTerraform)
		return ok
	})
}

// strategy reads a word, or a canary.
func (d *decoder) strategy(s *Strategy) reader {
	return func(v value) {
		if v.node.Value == "canary" {
			d.report(v, "write strategy: { canary: [10, 50, 100] }", "a canary needs its percents")
			return
		}
		if v.node.Kind != yaml.MappingNode {
			d.oneOf(&s.Kind, "recreate", "rolling", "blue-green")(v)
			return
		}
		s.Kind = "canary"
		d.mapping(v, "strategy", keys{
			"canary": func(v value) {
				d.list(v, func(i value) {
					var percent int
					whole(d, &percent, 1, 100)(i)
					s.Canary = append(s.Canary, percent)
				})
			},
			"pause": d.duration(&s.Pause),
		}, "canary")
	}
}

func (d *decoder) watch(to **Watch) reader {
	return func(v value) {
		w := &Watch{}
		*to = w
		d.mapping(v, "watch", keys{
			"for": d.duration(&w.For),
			"prometheus": func(v value) {
				d.list(v, func(i value) {
					var q Query
					d.query(i, &q)
					w.Prometheus = append(w.Prometheus, q)
				})
			},
		}, "for")
	}
}

func (d *decoder) query(v value, q *Query) {
	d.mapping(v, "a query", keys{
		"query": d.text(&q.Query, filled),
		"max":   d.bound(&q.Max),
		"min":   d.bound(&q.Min),
	}, "query")
}

// bound reads any number.
func (d *decoder) bound(to **float64) reader {
	return func(v value) {
		f, ok := number(v.node)
		if !ok {
			d.wrong(v, "a number")
			return
		}
		*to = &f
	}
}

func (d *decoder) approval(to **Approval) reader {
	return func(v value) {
		a := &Approval{Count: 1}
		*to = a
		d.mapping(v, "approval", keys{
			"by":      d.plains(&a.By, filled),
			"count":   whole(d, &a.Count, 1, unlimited),
			"timeout": d.duration(&a.Timeout),
		})
	}
}
