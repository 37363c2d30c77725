package sbom

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// collector takes what one file tells.
type collector struct {
	*scanner
	name     string
	size     int64 // of the file
	packages []Package
	strange  int // entries that name no package
}

// add takes a package, unless there is something wrong with it.
func (c *collector) add(p Package) {
	if p.Name == "" || !isField(p.Name) || !isField(p.Version) || !isField(p.Arch) || !isField(p.Upstream) ||
		p.Version == "" && p.Type != typeGo && p.Type != typeOS {
		c.strange++
		return
	}
	if len(p.License) > maxField || !utf8.ValidString(p.License) || strings.ContainsFunc(p.License, unicode.IsControl) {
		p.License = ""
	}
	size := overhead + len(p.Name) + len(p.Version) + len(p.Upstream) + len(p.License)
	if len(c.packages) == 0 {
		size += cost(c.name)
	}
	if !c.take(size) {
		return
	}
	c.packages = append(c.packages, p.clone())
}

// clone keeps the text that a package was cut from from staying in memory.
func (p Package) clone() Package {
	p.Name, p.Version, p.Arch = strings.Clone(p.Name), strings.Clone(p.Version), strings.Clone(p.Arch)
	p.Upstream, p.License = strings.Clone(p.Upstream), strings.Clone(p.License)
	return p
}

// isField tells whether a text can be a name or a version.
func isField(text string) bool {
	return len(text) <= maxField && utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool {
		return !unicode.IsGraphic(r) || unicode.IsSpace(r)
	})
}

func (s *scanner) take(bytes int) bool {
	if s.full = s.full || bytes > s.left; s.full {
		return false
	}
	s.left -= bytes
	return true
}

// cost is about what a file takes in memory, in bytes.
func cost(name string) int {
	return overhead + len(name) + perLevel*strings.Count(name, "/")
}

func (s *scanner) note(path, format string, args ...any) {
	if len(s.notes) == maxNotes {
		s.silent = true
		return
	}
	s.notes = append(s.notes, Note{Path: path, Reason: cut(printable(fmt.Sprintf(format, args...)), maxReason)})
}
