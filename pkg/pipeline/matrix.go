package pipeline

import (
	"maps"
	"slices"
	"strings"
)

// Variant is one run of a step with a matrix.
type Variant struct {
	Name   string            // such as unit[go=1.26,os=linux]; the step's own name without a matrix
	Matrix map[string]string // nil without a matrix
}

// Variants are the runs of the step: each combination of its matrix but those it
// excludes, or one. The order depends on the file alone.
func (s *Step) Variants() []Variant {
	if len(s.Matrix) == 0 {
		return []Variant{{Name: s.Name}}
	}
	names := slices.Sorted(maps.Keys(s.Matrix))
	var all []Variant
	for _, m := range combinations(s.Matrix, names) {
		if !s.excludes(m) {
			all = append(all, Variant{Name: variantName(s.Name, names, m), Matrix: m})
		}
	}
	return all
}

// combinations takes one value for each name; the last name changes fastest.
func combinations(matrix map[string][]string, names []string) []map[string]string {
	all := []map[string]string{{}}
	for _, name := range names {
		var next []map[string]string
		for _, m := range all {
			for _, text := range matrix[name] {
				longer := maps.Clone(m)
				longer[name] = text
				next = append(next, longer)
			}
		}
		all = next
	}
	return all
}

// excludes tells whether some entry of Exclude has nothing that m has not.
func (s *Step) excludes(m map[string]string) bool {
	return slices.ContainsFunc(s.Exclude, func(e map[string]string) bool {
		for name, text := range e {
			if m[name] != text {
				return false
			}
		}
		return len(e) > 0
	})
}

func variantName(step string, names []string, m map[string]string) string {
	parts := make([]string, 0, len(names))
	for _, name := range names {
		parts = append(parts, name+"="+m[name])
	}
	return step + "[" + strings.Join(parts, ",") + "]"
}
