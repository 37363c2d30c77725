package pipeline

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// readFile reads the whole file. What it returns is worth something only where no
// problem was found.
func (d *decoder) readFile(root *yaml.Node) *File {
	f := &File{Build: &Build{}, Release: &Release{}, Trigger: Trigger{Supersede: true}}
	d.known = scope{names: alwaysKnown()}
	top := value{name: "the file", at: root, node: root}
	if root.Kind != yaml.MappingNode {
		d.report(top, "it should be a mapping that begins with version: 1", "the file is %s", kindOf(root))
		return f
	}
	known := keys{
		"version":  d.version(&f.Version),
		"name":     d.plain(&f.Name, isAppName),
		"trigger":  func(v value) { d.trigger(v, &f.Trigger) },
		"defaults": func(v value) { d.defaults(v, &f.Defaults) },
		"test":     d.some(d.group(&f.Test, &f.TestOrder)),
		"build":    func(v value) { d.build(v, f.Build) },
		"release":  func(v value) { d.release(v, f.Release) },
		"deploy":   d.some(d.deploy(&f.Deploy)),
	}
	d.own(top, known)
	if d.mapping(top, "the file", known, "version", "name", "test", "build", "release") {
		d.finish(f)
		d.checkPlatforms(top, f)
	}
	return f
}

// own lets the user have keys that begin with x-, such as for anchors.
func (d *decoder) own(v value, known keys) {
	pairs, _ := d.pairs(v)
	for _, p := range pairs {
		if strings.HasPrefix(p.name, "x-") {
			known[p.name] = func(value) {}
		}
	}
}

func isAppName(s string) (string, string) {
	return matches(isName, "a name", "use lower-case letters, digits and dashes, a letter first, 63 at most")(s)
}

func (d *decoder) version(to *int) reader {
	return func(v value) {
		if n, ok := number(v.node); !ok || n != 1 {
			d.report(v, "write version: 1", "this version is not known")
		}
		*to = 1
	}
}

func (d *decoder) trigger(v value, t *Trigger) {
	d.mapping(v, "trigger", keys{
		"branches":  d.plains(&t.Branches, filled),
		"tags":      d.plains(&t.Tags, filled),
		"paths":     d.plains(&t.Paths, filled),
		"supersede": d.boolean(&t.Supersede),
	})
}

func (d *decoder) defaults(v value, to *Defaults) {
	d.mapping(v, "defaults", keys{
		"image":     d.text(&to.Image, image),
		"env":       d.env(&to.Env),
		"cache":     d.caches(&to.Cache),
		"timeout":   d.duration(&to.Timeout),
		"resources": d.resources(&to.Resources),
		"fail_fast": d.boolean(&to.FailFast),
	})
}

// env reads names with values; what other tools read as number or boolean is text.
func (d *decoder) env(to *map[string]string) reader {
	return func(v value) {
		all := map[string]string{}
		pairs, _ := d.pairs(v)
		for _, p := range pairs {
			if !isEnvName.MatchString(p.name) {
				d.reportKey(p, "use letters, digits and _ . -, no digit first", "%s is no name in %s", quote(p.name), v.name)
			}
			all[p.name] = d.word(p, tagBool, tagInt, tagFloat)
		}
		*to = all
	}
}

// word is the text of a scalar as it stands in the file, of a string or of one of
// some more tags.
func (d *decoder) word(v value, more ...string) string {
	if v.node.Tag == tagNull && v.key != nil {
		d.report(v, "write "+v.name+": ''", "%s is empty", v.name)
		return ""
	}
	if !isText(v.node) && (v.node.Kind != yaml.ScalarNode || !slices.Contains(more, v.node.Tag)) {
		d.wrong(v, "a text")
		return ""
	}
	d.variables(v)
	return v.node.Value
}

// secrets reads a list of names, or a mapping of names to their sources.
func (d *decoder) secrets(to *map[string]string) reader {
	return func(v value) {
		all := map[string]string{}
		*to = all
		if v.node.Kind == yaml.SequenceNode {
			d.list(v, func(i value) {
				var name string
				d.plain(&name, matches(isSecret, "a name of a secret", "use capitals, digits and _, a capital first"))(i)
				all[name] = name
			})
			return
		}
		pairs, _ := d.pairs(v)
		for _, p := range pairs {
			if !isEnvName.MatchString(p.name) {
				d.reportKey(p, "use letters, digits and _ . -, no digit first", "%s is no name of a secret", quote(p.name))
			}
			var source string
			d.plain(&source, matches(isSource, "a source of a secret", "write a name such as prod/key"))(p)
			all[p.name] = source
		}
	}
}

func (d *decoder) caches(to *[]Cache) reader {
	return func(v value) {
		all := []Cache{}
		d.list(v, func(i value) {
			var c Cache
			if i.node.Kind == yaml.MappingNode {
				d.mapping(i, "cache", keys{
					"path": d.text(&c.Path, cached),
					"key":  d.texts(&c.Key, inside),
				}, "path")
			} else {
				d.text(&c.Path, cached)(i)
			}
			all = append(all, c)
		})
		*to = all
	}
}

func (d *decoder) resources(r *Resources) reader {
	return func(v value) {
		d.mapping(v, "resources", keys{
			"cpu":    d.real(&r.CPU, aboveZero, unlimited),
			"memory": d.size(&r.Memory),
			"pids":   whole(d, &r.Pids, 16, unlimited),
		})
	}
}

// onlyOne makes sure that v has exactly one of some keys; thing is what they are.
func (d *decoder) onlyOne(v value, what, thing, hint string, names ...string) {
	pairs, ok := d.pairs(v)
	if !ok {
		return
	}
	var given []value
	for _, p := range pairs {
		if slices.Contains(names, cmp.Or(d.meant[p.key], p.name)) {
			given = append(given, p)
		}
	}
	if len(given) == 0 {
		d.reportKey(v, "add one of "+strings.Join(names, ", "), "%s has no %s", what, thing)
	}
	if len(given) > 1 {
		d.reportKey(given[1], hint, "%s has %s and %s; it must have one %s", what, given[0].name, given[1].name, thing)
	}
}

// labelled is what and a name, as in: step "unit".
func labelled(what, name string) string { return fmt.Sprintf("%s %s", what, quote(name)) }
