package sbom

import (
	"slices"
	"strings"
)

// Merge stacks layers, the lowest first. A file that a higher layer replaces or removes
// tells nothing more. Layers can be merged in groups: the result is the same.
func Merge(layers ...Findings) Findings {
	var out Findings
	hidden := hideable(layers)
	for _, l := range slices.Backward(layers) {
		for _, f := range l.Files {
			if !isHidden(hidden, f.Path) {
				out.Files = append(out.Files, f)
			}
		}
		for _, n := range l.Notes {
			if n.Path == "" || !isHidden(hidden, n.Path) {
				out.Notes = append(out.Notes, n)
			}
		}
		for _, key := range l.Covers {
			if _, ok := hidden[key]; ok {
				hidden[key] = true
			}
		}
		out.Covers = append(out.Covers, l.Covers...)
	}
	out.Covers = out.Covers.sorted()
	slices.SortFunc(out.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	slices.SortFunc(out.Notes, Note.compare)
	out.Notes = slices.Compact(out.Notes)
	return out
}

// hideable are the keys that matter: those that would hide a file that tells something.
// They are few, where all that the layers cover are many.
func hideable(layers []Findings) map[uint64]bool {
	keys := map[uint64]bool{}
	add := func(path string) {
		for _, key := range covering(path) {
			keys[key] = false
		}
	}
	for _, l := range layers {
		for _, f := range l.Files {
			add(f.Path)
		}
		for _, n := range l.Notes {
			add(n.Path)
		}
	}
	return keys
}

func isHidden(hidden map[uint64]bool, path string) bool {
	return slices.ContainsFunc(covering(path), func(key uint64) bool { return hidden[key] })
}

func (n Note) compare(o Note) int {
	if c := strings.Compare(n.Path, o.Path); c != 0 {
		return c
	}
	return strings.Compare(n.Reason, o.Reason)
}
