package report

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/millrace-cd/millrace/pkg/event"
)

// Quarantine parts the failed cases: those whose name, alone or behind class and point,
// matches one of globs are quarantined, the others are fatal. In a glob * is any text
// and ? is any character; everything else is itself, since names of tests are full of
// brackets.
//
// A glob that matches a test of Go matches its subtests. A test that failed only since
// subtests did goes with them: it is fatal where one of them is. Failed cases that did
// not fit into the report are fatal.
func Quarantine(suites []Suite, globs []string) (fatal, quarantined []Case) {
	for _, s := range suites {
		f, q := s.quarantine(globs)
		fatal, quarantined = append(fatal, f...), append(quarantined, q...)
		if s.Omitted > 0 {
			fatal = append(fatal, Case{Name: fmt.Sprintf("%d more failed cases", s.Omitted), Class: s.Name, Result: event.ResultFailure})
		}
	}
	return fatal, quarantined
}

func (s Suite) quarantine(globs []string) (fatal, quarantined []Case) {
	parents := map[string]bool{} // of failed cases; true for those of fatal ones
	for _, k := range s.Cases {
		for parent := range k.parents() {
			if k.failed() {
				parents[parent] = false
			}
		}
	}
	follows := func(k Case) bool {
		_, ok := parents[k.path()]
		return ok && k.Message == ""
	}
	for _, k := range s.Cases {
		if k.failed() && !follows(k) && !k.matches(globs) {
			for parent := range k.parents() {
				parents[parent] = true
			}
		}
	}
	for _, k := range s.Cases {
		switch {
		case !k.failed():
		case k.matches(globs), follows(k) && !parents[k.path()]:
			quarantined = append(quarantined, k)
		default:
			fatal = append(fatal, k)
		}
	}
	return fatal, quarantined
}

func (k Case) failed() bool { return k.Result != event.ResultSuccess }

// path is the case's place in its suite.
func (k Case) path() string { return k.Class + "\x00" + k.Name }

// parents are the paths of the tests that k is a subtest of, as Go names them. Names
// with blanks are titles, in which a slash means nothing.
func (k Case) parents() iter.Seq[string] {
	return func(yield func(string) bool) {
		for i, c := range k.Name {
			if c == '/' && !strings.Contains(k.Name, " ") && !yield(k.Class+"\x00"+k.Name[:i]) {
				return
			}
		}
	}
}

func (k Case) matches(globs []string) bool {
	paths := slices.Collect(k.parents())
	for _, glob := range globs {
		for _, path := range append(paths, k.path()) {
			class, name, _ := strings.Cut(path, "\x00")
			if wild(glob, name) || class != "" && wild(glob, class+"."+name) {
				return true
			}
		}
	}
	return false
}

// wild matches all of s with glob, in time len(s)·len(glob) at worst.
func wild(glob, s string) bool {
	g, t := []rune(glob), []rune(s)
	i, star, from := 0, -1, 0
	for j := 0; j < len(t); {
		switch {
		case i < len(g) && g[i] == '*':
			star, from = i, j
			i++
		case i < len(g) && (g[i] == '?' || g[i] == t[j]):
			i++
			j++
		case star >= 0:
			from++
			i, j = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(string(g[i:]), "*") == ""
}
