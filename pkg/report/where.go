package report

import (
	"iter"
	"path"
	"strconv"
	"strings"
)

const maxPlaces = 200 // looked at for one case

// locate finds out where the case failed: the place in text that is most likely the
// test's own. What the report itself says of the file counts more, but it tells the
// line where the test begins.
func (k *Case) locate(text string) {
	best, left := 0, maxPlaces
	file, number := k.File, k.Line
	for p := range places(text) {
		rank := k.rank(p.file)
		if rank > best || rank == best && p.logged(text) {
			best, file, number = rank, line(p.file), p.line
		}
		if left--; left == 0 {
			break
		}
	}
	if k.File == "" || best == rankSame {
		k.File, k.Line = file, number
	}
}

// place is a file of a program with a line, from its first to its last byte in a text.
type place struct {
	file     string
	line     int
	from, to int
}

// places are those that compilers, test tools and stack traces write: file:line, and
// File "file", line 7. Hosts with ports look alike, so only the endings of programs count.
func places(text string) iter.Seq[place] {
	return func(yield func(place) bool) {
		for i := 0; i < len(text); i++ {
			next := strings.IndexAny(text[i:], `:"`)
			if next < 0 {
				return
			}
			i += next
			begin, number := i, i+1
			switch {
			case text[i] == ':':
				for begin > max(0, i-maxName) && ofPath(text[begin-1]) {
					begin--
				}
			case strings.HasPrefix(text[i:], `", line `):
				begin, number = max(0, i-maxName, strings.LastIndexByte(text[:i], '"')+1), i+len(`", line `)
			}
			end := number
			for end < len(text) && text[end] >= '0' && text[end] <= '9' {
				end++
			}
			file := strings.TrimPrefix(text[begin:i], "./")
			if n, err := strconv.ParseUint(text[number:end], 10, 31); err == nil && program(file) {
				if !yield(place{file, int(n), begin, end}) {
					return
				}
			}
		}
	}
}

func ofPath(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(`_./\@~+-`, c) >= 0 || c >= 0x80
}

// program tells whether a file has the ending of a program.
func program(file string) bool {
	switch strings.ToLower(path.Ext(file)) {
	case ".bats", ".c", ".cc", ".cjs", ".clj", ".cpp", ".cs", ".cxx", ".dart", ".erl", ".ex", ".exs", ".fs", ".go", ".groovy", ".h", ".hpp", ".hs",
		".java", ".js", ".jsx", ".kt", ".kts", ".lua", ".mjs", ".ml", ".mm", ".php", ".pl", ".py", ".rb", ".rs", ".scala", ".sh", ".swift", ".t", ".ts", ".tsx", ".vb", ".vue", ".zig":
		return true
	}
	return false
}

// foreign tells whether a file is of a library or of the tool.
func foreign(file string) bool {
	for _, dir := range []string{"node_modules/", "node:", "site-packages/", "dist-packages/", "/pkg/mod/", "/.cargo/"} {
		if strings.Contains(file, dir) {
			return true
		}
	}
	return strings.HasPrefix(file, "/usr/") || strings.HasPrefix(file, "<")
}

const rankSame = 5

// rank tells how likely it is that the case is in the file.
func (k *Case) rank(file string) int {
	file = strings.ReplaceAll(file, `\`, "/")
	base := path.Base(file)
	lower, stem := strings.ToLower(base), strings.TrimSuffix(base, path.Ext(base))
	switch {
	case k.File != "" && (strings.HasSuffix(file, k.File) || strings.HasSuffix(k.File, file)):
		return rankSame
	case foreign(file):
		return 1
	case containsWord(k.Class, stem):
		return 4
	case strings.Contains(lower, "test"), strings.Contains(lower, "spec"):
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
func (p place) logged(text string) bool {
	before := text[strings.LastIndexByte(text[:p.from], '\n')+1 : p.from]
	return strings.TrimLeft(before, " ") == "" && len(before) >= 4 && strings.HasPrefix(text[p.to:], ": ")
}
