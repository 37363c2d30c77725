package pipeline

import (
	"slices"
	"strings"
)

// didYouMean is the hint for a name that is not among known, "" if none is near.
func didYouMean(name string, known []string) string {
	if best := nearest(name, known); best != "" {
		return "did you mean " + quote(best) + "?"
	}
	return ""
}

// nearest is the known name that was probably meant, or "".
func nearest(name string, known []string) string {
	if len(name) > 64 {
		return ""
	}
	best, least := "", (len(name)+2)/3+1
	for _, k := range slices.Sorted(slices.Values(known)) {
		if n := distance(simple(name), simple(k)); n < least {
			best, least = k, n
		}
	}
	if i := slices.IndexFunc(known, func(k string) bool { return len(k) > 3 && strings.HasPrefix(name, k) }); best == "" && i >= 0 {
		return known[i]
	}
	if best == "" && slices.Contains(known, elsewhere(name)) {
		return elsewhere(name)
	}
	return best
}

// simple makes names alike that differ in case and separators.
func simple(name string) string {
	return strings.NewReplacer("_", "", "-", "", " ", "").Replace(strings.ToLower(name))
}

// distance counts the insertions, deletions, changes and swaps of neighbours that
// make b of a.
func distance(a, b string) int {
	var before, last []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := last[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(last[j]+1, row[j-1]+1, change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}

// elsewhere is our key for one of other tools, "" if it is none.
func elsewhere(name string) string {
	return map[string]string{
		"script": "run", "commands": "run", "command": "run", "cmd": "run", "steps": "run",
		"environment": "env", "variables": "env", "depends_on": "needs", "depends": "needs", "dependencies": "needs",
		"healthcheck": "ready", "readiness": "ready", "health": "check", "checks": "check",
		"outputs": "artifacts", "paths": "artifacts", "working_directory": "workdir", "cwd": "workdir",
		"allow_failure": "optional", "retry": "retries", "base_image": "base", "from": "base", "cmdline": "command",
		"tests": "test", "gate": "approval", "manual": "approval",
	}[name]
}
