package pipeline

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Tags as the YAML parser gives them to plain values.
const (
	tagString = "!!str"
	tagBool   = "!!bool"
	tagInt    = "!!int"
	tagFloat  = "!!float"
	tagNull   = "!!null"
	tagTime   = "!!timestamp"
	tagMerge  = "!!merge"
)

// decoder reads the nodes of one file. It never stops at a problem: it notes it and
// reads on.
type decoder struct {
	file   string
	lines  []string
	found  Problems
	known  scope // the variables that texts may use where we are
	placed []placed
	meant  map[*yaml.Node]string // by the unknown keys told so far, "" where nobody knows
}

func newDecoder(file string, lines []string) *decoder {
	return &decoder{file: file, lines: lines, meant: map[*yaml.Node]string{}}
}

// value is something in the file: a key's value or an item of a list.
type value struct {
	name string     // of the key; for an item, of the list it is in
	key  *yaml.Node // nil for an item
	at   *yaml.Node // as written, perhaps an alias
	node *yaml.Node // what it stands for
}

// reader reads a value into where it belongs.
type reader func(value)

// keys are those that a mapping may have.
type keys map[string]reader

// report notes a problem of v.
func (d *decoder) report(v value, hint, format string, args ...any) {
	d.reportAt(v.at.Line, v.at.Column, fmt.Sprintf(format, args...), hint)
}

// reportKey notes a problem that is not of what v holds but of what it lacks.
func (d *decoder) reportKey(v value, hint, format string, args ...any) {
	if v.key == nil {
		d.report(v, hint, format, args...)
		return
	}
	d.reportAt(v.key.Line, v.key.Column, fmt.Sprintf(format, args...), hint)
}

// mapping reads v, called what in messages, by its keys. It is false where v is no
// mapping at all.
func (d *decoder) mapping(v value, what string, known keys, required ...string) bool {
	pairs, ok := d.pairs(v)
	if !ok {
		return false
	}
	given := map[string]bool{}
	for _, p := range pairs {
		if read, ok := known[p.name]; ok {
			read(p)
		} else {
			d.unknownKey(p, what, known)
		}
		given[cmp.Or(d.meant[p.key], p.name)] = true
	}
	missing := slices.DeleteFunc(slices.Clone(required), func(name string) bool { return given[name] })
	if len(missing) > 0 {
		d.reportKey(v, "", "%s has no %s", what, strings.Join(missing, ", no "))
	}
	return true
}

// unknownKey tells which key was meant, or else which there are.
func (d *decoder) unknownKey(v value, what string, known keys) {
	if _, told := d.meant[v.key]; told || d.full() {
		return // as where a mapping is merged into many
	}
	names := slices.Sorted(maps.Keys(known))
	hint, meant := "", nearest(v.name, names)
	d.meant[v.key] = meant
	switch {
	case meant != "":
		hint = didYouMean(v.name, names)
	case strings.HasPrefix(v.name, "x-"):
		hint = "keys of your own stand at the top of the file"
	default:
		hint = "there are " + strings.Join(names, ", ")
	}
	d.reportKey(v, hint, "unknown key %s in %s", quote(v.name), what)
}

// pairs are the keys of v with their values: its own in their order, and where a
// merge stands, those that it does not have itself.
func (d *decoder) pairs(v value) ([]value, bool) {
	if v.node.Kind != yaml.MappingNode {
		d.wrong(v, "a mapping")
		return nil, false
	}
	seen := map[string]bool{}
	for k := 0; k < len(v.node.Content); k += 2 {
		seen[follow(v.node.Content[k]).Value] = true
	}
	var pairs []value
	for k := 0; k < len(v.node.Content); k += 2 {
		p := pairAt(v.node, k)
		if follow(p.key).Kind != yaml.ScalarNode {
			continue // reported before
		}
		if follow(p.key).Tag != tagMerge {
			pairs = append(pairs, p)
			continue
		}
		for _, m := range d.merged(p) {
			if !seen[m.name] {
				seen[m.name] = true
				pairs = append(pairs, m)
			}
		}
	}
	return pairs, true
}

// merged are the pairs of what a merge key names: a mapping or a list of them, of
// which the first wins.
func (d *decoder) merged(v value) []value {
	from := []value{v}
	if v.node.Kind == yaml.SequenceNode {
		from = items(v)
	}
	var all []value
	for _, m := range from {
		if m.node.Kind != yaml.MappingNode {
			d.report(m, "write <<: *name of a mapping", "only mappings can be merged")
			continue
		}
		pairs, _ := d.pairs(m)
		all = append(all, pairs...)
	}
	return all
}

func pairAt(n *yaml.Node, k int) value {
	key, at := n.Content[k], n.Content[k+1]
	return value{name: follow(key).Value, key: key, at: at, node: follow(at)}
}

// items are the values of a list.
func items(v value) []value {
	all := make([]value, len(v.node.Content))
	for i, n := range v.node.Content {
		all[i] = value{name: v.name, at: n, node: follow(n)}
	}
	return all
}

// list reads each item of a list.
func (d *decoder) list(v value, read reader) bool {
	if v.node.Kind != yaml.SequenceNode {
		d.wrong(v, "a list")
		return false
	}
	for _, i := range items(v) {
		read(i)
	}
	return true
}

// named reads a mapping whose keys are names of the user's choice, and returns them
// in their order.
func (d *decoder) named(v value, what string, read reader) []string {
	pairs, _ := d.pairs(v)
	names := make([]string, 0, len(pairs))
	for _, p := range pairs {
		if p.checkName(d, what) {
			names = append(names, p.name)
			read(p)
		}
	}
	return names
}

func (v value) checkName(d *decoder, what string) bool {
	if isStepName.MatchString(v.name) {
		return true
	}
	d.reportKey(v, "use lower-case letters, digits and dashes, a letter first, 40 at most",
		"%s is no name of %s", quote(v.name), what)
	return false
}

// find is the value of a key of v, if v is a mapping that has it.
func (d *decoder) find(v value, name string) (value, bool) {
	if v.node.Kind != yaml.MappingNode {
		return value{}, false
	}
	pairs, _ := d.pairs(v)
	i := slices.IndexFunc(pairs, func(p value) bool { return p.name == name })
	if i < 0 {
		return value{}, false
	}
	return pairs[i], true
}

// wrong says that v is not what it should be, and how to write that.
func (d *decoder) wrong(v value, want string) {
	subject := v.name
	if v.key == nil {
		subject = "an item of " + v.name
	}
	d.report(v, v.advice(want), "%s is %s", subject, kindOf(v.node))
}

// advice is how to write v so that it is what we want.
func (v value) advice(want string) string {
	prefix := ""
	if v.key != nil {
		prefix = v.name + ": "
	}
	switch {
	case v.node.Tag == tagNull && v.key != nil && want == "a mapping":
		return "write " + prefix + "{…}, or remove the key"
	case v.node.Tag == tagNull:
		return "write " + want + ", or remove the key"
	case want == "true or false" && slices.Contains([]string{"true", "yes", "on", "y", "1"}, strings.ToLower(v.node.Value)):
		return "write " + prefix + "true"
	case want == "true or false" && slices.Contains([]string{"false", "no", "off", "n", "0"}, strings.ToLower(v.node.Value)):
		return "write " + prefix + "false"
	case want == "a text" && v.node.Kind == yaml.ScalarNode:
		return fmt.Sprintf("write %s'%s'", prefix, v.node.Value)
	case want == "a list" && v.node.Kind == yaml.ScalarNode:
		return fmt.Sprintf("write %s[%s]", prefix, v.node.Value)
	}
	return "it should be " + want
}

// kindOf names what n is.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.Tag {
	case tagNull:
		return "empty"
	case tagBool:
		return "a boolean"
	case tagInt, tagFloat:
		return "a number"
	}
	return "a text"
}
