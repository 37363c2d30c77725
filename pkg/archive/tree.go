package archive

import (
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// kind is what stands at a path of a tree.
type kind byte

const (
	nothing kind = iota
	file
	link
	directory
)

// tree remembers what was seen of one, so that each entry can be judged by the
// ones before it.
type tree struct {
	limits  Limits
	seen    map[string]kind
	entries int
	bytes   int64
}

func newTree(limits Limits) *tree {
	return &tree{limits: limits, seen: make(map[string]kind)}
}

// add takes note of an entry, or says why it must not be.
func (t *tree) add(name string, k kind, target string, size int64) error {
	if t.entries++; t.entries > t.limits.Entries {
		return fmt.Errorf("%w: more than %d entries", ErrRefused, t.limits.Entries)
	}
	if err := t.name(name); err != nil {
		return err
	}
	if k == link {
		if err := t.link(name, target); err != nil {
			return err
		}
	}
	if size > t.limits.FileBytes {
		return refuse(name, "%d bytes, the limit of a file is %d", size, t.limits.FileBytes)
	}
	if t.bytes += size; t.bytes > t.limits.TotalBytes {
		return refuse(name, "the tree is over its limit of %d bytes", t.limits.TotalBytes)
	}
	return t.place(name, k)
}

// place refuses a second entry of the same name, and whatever would lie under
// something that is no directory: a link there could lead anywhere.
func (t *tree) place(name string, k kind) error {
	if was := t.seen[name]; was != nothing && (was != directory || k != directory) {
		return refuse(name, "the name stands there twice")
	}
	t.seen[name] = k
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		switch t.seen[dir] {
		case directory:
			return nil
		case nothing:
			t.seen[dir] = directory
		default:
			return refuse(name, "%q is no directory", dir)
		}
	}
	return nil
}

func (t *tree) name(name string) error {
	switch {
	case name == "" || name == "." || path.IsAbs(name) || name != path.Clean(name) || climbs(name):
		return refuse(name, "the name is not relative and clean")
	case len(name) > t.limits.PathBytes:
		return refuse(name, "a name of %d bytes, the limit is %d", len(name), t.limits.PathBytes)
	case strings.Count(name, "/") > t.limits.Depth:
		return refuse(name, "more than %d directories deep", t.limits.Depth)
	}
	return printable(name, name)
}

// link allows a target that climbs, if at all, at its start and no further than
// to the root of the tree. The directories above a link are never links
// themselves, so climbing is exact; a climb later on, as in x/../y, would go
// wherever x leads.
func (t *tree) link(name, target string) error {
	switch {
	case !t.limits.Links:
		return refuse(name, "a symbolic link")
	case target == "" || len(target) > t.limits.PathBytes:
		return refuse(name, "a link with a target of %d bytes, the limit is %d", len(target), t.limits.PathBytes)
	case path.IsAbs(target):
		return refuse(name, "the link leads out of the tree, to %.100q", target)
	}
	depth, down := strings.Count(name, "/"), false
	for part := range strings.SplitSeq(target, "/") {
		switch part {
		case "", ".":
		case "..":
			if depth--; down || depth < 0 {
				return refuse(name, "the link leads out of the tree, or climbs after its start: %.100q", target)
			}
		default:
			down = true
		}
	}
	return printable(name, target)
}

// printable keeps terminals, logs and JSON safe from names.
func printable(name, text string) error {
	if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return refuse(name, "a name that is not UTF-8 or has control characters")
	}
	return nil
}

func climbs(name string) bool { return name == ".." || strings.HasPrefix(name, "../") }

func refuse(name, format string, args ...any) error {
	return fmt.Errorf("%w: %.200q: %s", ErrRefused, name, fmt.Sprintf(format, args...))
}
