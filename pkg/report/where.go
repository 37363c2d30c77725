package report

import (
	"path"
	"regexp"
	"strconv"
	"strings"
)

// place is a file of a program with a line, as compilers, test tools and stack traces
// write it. Hosts with ports look alike, so only endings of programs count.
var place = regexp.MustCompile(`File "([^"\n]+)", line (\d+)|((?:[A-Za-z]:)?[\w./\\@~+-]+\.(?:bats|cc|clj|cpp|cs|cxx|c|dart|erl|exs|ex|fs|go|groovy|hpp|hs|h|java|jsx|js|kts|kt|lua|mjs|cjs|ml|mm|php|pl|py|rb|rs|scala|sh|swift|t|tsx|ts|vb|vue|zig)):(\d+)`)

// foreign begins or is in the names of files that no test is in.
var foreign = regexp.MustCompile(`node_modules/|node:|(site|dist)-packages/|^/usr/|/pkg/mod/|/\.cargo/|^<`)

var testFile = regexp.MustCompile(`(?i)test|spec`)

const maxPlaces = 40 // looked at for one case

// locate finds out where the case failed: the place in text that is most likely the
// test's own. What the report itself says of the file counts more, but it tells the
// line where the test begins.
func (k *Case) locate(text string) {
	best := 0
	file, number := k.File, k.Line
	for _, at := range place.FindAllStringSubmatchIndex(text, maxPlaces) {
		if at[2] < 0 {
			at = append(at[:2:2], at[6:]...)
		}
		name := strings.TrimPrefix(text[at[2]:at[3]], "./")
		rank := k.rank(name)
		if rank > best || rank == best && logged(text, at[0], at[1]) {
			best, file = rank, line(name)
			number, _ = strconv.Atoi(text[at[4]:at[5]])
		}
	}
	if k.File == "" || best == rankSame {
		k.File, k.Line = file, number
	}
}

const rankSame = 5

// rank tells how likely it is that the case is in the file.
func (k *Case) rank(file string) int {
	file = strings.ReplaceAll(file, `\`, "/")
	base := path.Base(file)
	stem := strings.TrimSuffix(base, path.Ext(base))
	switch {
	case k.File != "" && (strings.HasSuffix(file, k.File) || strings.HasSuffix(k.File, file)):
		return rankSame
	case foreign.MatchString(file):
		return 1
	case containsWord(k.Class, stem):
		return 4
	case testFile.MatchString(base):
		return 3
	}
	return 2
}

func containsWord(class, word string) bool {
	for part := range strings.FieldsFuncSeq(class, func(r rune) bool { return strings.ContainsRune(`./\$ :`, r) }) {
		if part == word {
			return true
		}
	}
	return false
}

// logged tells whether the place is one that Go's testing put before a line. There what
// ends a test comes last.
func logged(text string, from, to int) bool {
	before := text[strings.LastIndexByte(text[:from], '\n')+1 : from]
	return strings.TrimLeft(before, " ") == "" && len(before) >= 4 && strings.HasPrefix(text[to:], ": ")
}
