package pipeline

import (
	"fmt"

	"go.yaml.in/yaml/v4"
)

// extent is how large a node is once all aliases in it are followed.
type extent struct{ values, depth int }

// inspector checks what holds for any YAML that we read, whatever its keys mean.
type inspector struct {
	d    *decoder
	done map[*yaml.Node]extent // no entry: not seen; zero: being walked
	ok   bool
}

// inspect refuses nodes that it is not safe or not sensible to decode: aliases that
// contain themselves or multiply, deep nesting, tags. It reports keys that are there
// twice or are no text. It visits each node once, however often aliases name it.
func (d *decoder) inspect(root *yaml.Node) bool {
	i := &inspector{d: d, done: map[*yaml.Node]extent{}, ok: true}
	e := i.walk(root)
	if i.ok && e.depth > MaxDepth {
		i.refuse(root, errDepth.Error(), "")
	}
	if i.ok && e.values > maxValues {
		i.refuse(root, "the file holds too many values", "an alias counts as all that it stands for")
	}
	return i.ok
}

func (i *inspector) refuse(n *yaml.Node, message, hint string) {
	i.ok = false
	i.d.reportAt(n.Line, n.Column, message, hint)
}

// walk measures n. Sizes beyond the limits are cut there, so they cannot overflow.
func (i *inspector) walk(n *yaml.Node) extent {
	if n.Kind == yaml.AliasNode {
		return i.alias(n)
	}
	i.done[n] = extent{}
	i.tag(n)
	if n.Kind == yaml.MappingNode {
		i.keys(n)
	}
	e := extent{values: 1}
	for _, c := range n.Content {
		inner := i.walk(c)
		e.values = min(e.values+inner.values, maxValues+1)
		e.depth = max(e.depth, inner.depth)
	}
	if n.Kind != yaml.ScalarNode {
		e.depth++
	}
	i.done[n] = e
	return e
}

// alias measures what the alias names; that was walked before, or holds the alias.
func (i *inspector) alias(n *yaml.Node) extent {
	e := i.done[n.Alias]
	if e.values == 0 {
		i.refuse(n, "alias "+quote(n.Value)+" contains itself", "")
	}
	return e
}

// keys are texts, and each is there once.
func (i *inspector) keys(n *yaml.Node) {
	first := map[string]*yaml.Node{}
	for k := 0; k < len(n.Content); k += 2 {
		key := follow(n.Content[k])
		if key.Kind != yaml.ScalarNode {
			i.d.reportAt(n.Content[k].Line, n.Content[k].Column, "a key must be a text", "")
			continue
		}
		if before, twice := first[key.Value]; twice {
			i.d.reportAt(n.Content[k].Line, n.Content[k].Column, "duplicate key "+quote(key.Value),
				fmt.Sprintf("the first is in line %d", before.Line))
			continue
		}
		first[key.Value] = n.Content[k]
	}
}

// tag refuses explicit tags; they make a value something else than it looks like.
func (i *inspector) tag(n *yaml.Node) {
	if n.Style&yaml.TaggedStyle != 0 && (n.Tag != tagString || n.Kind != yaml.ScalarNode) {
		i.refuse(n, "the tag "+quote(n.Tag)+" is not allowed", "remove it, or put quotes around the value")
	}
}

// follow is what an alias stands for, or n itself.
func follow(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	return n
}
