package workspace

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/millrace-cd/millrace/pkg/archive"
)

// pattern is a glob and what became of it.
type pattern struct {
	text   string // as the user wrote it
	glob   string
	base   string // directory above the first wildcard
	levels int    // directories above what it can match; -1 = any number
	dirs   bool   // had a slash at its end: matches directories alone
	hit    bool
	behind string // a link on its way, which is not followed
}

type patterns []*pattern

func compile(globs []string) (patterns, error) {
	var list patterns
	for _, text := range globs {
		glob := strings.TrimPrefix(text, "./")
		p := &pattern{text: text, glob: strings.TrimSuffix(glob, "/"), dirs: strings.HasSuffix(glob, "/")}
		if p.glob == "" || p.glob == "." {
			p.glob = "**"
		}
		if path.IsAbs(p.glob) || !fs.ValidPath(p.glob) || !doublestar.ValidatePattern(p.glob) || text == "" {
			return nil, fmt.Errorf("%w: %q is no pattern of a path inside the workspace", archive.ErrRefused, text)
		}
		p.base, _ = doublestar.SplitPattern(p.glob)
		if p.levels = strings.Count(p.glob, "/"); strings.Contains(p.glob, "**") || strings.Contains(p.glob, "{") {
			p.levels = -1
		}
		list = append(list, p)
	}
	return list, nil
}

// match are the patterns that match a path itself.
func (list patterns) match(name string, dir bool) (matching patterns) {
	for _, p := range list {
		if (dir || !p.dirs) && doublestar.MatchUnvalidated(p.glob, name) {
			matching = append(matching, p)
		}
	}
	return matching
}

// reach tells whether any pattern can match something in the directory.
func (list patterns) reach(dir string) bool {
	for _, p := range list {
		if p.levels >= 0 && strings.Count(dir, "/") >= p.levels {
			continue
		}
		if p.base == "." || within(dir, p.base) || within(p.base, dir) {
			return true
		}
	}
	return false
}

// blocked notes that a link stands in the way of patterns.
func (list patterns) blocked(link string) {
	for _, p := range list {
		if within(p.base, link) {
			p.behind = link
		}
	}
}

// unmatched is an error that names every pattern that matched nothing.
func (list patterns) unmatched() error {
	var missing []string
	for _, p := range list {
		switch {
		case p.hit:
		case p.behind != "":
			missing = append(missing, fmt.Sprintf("%q matches no file (%s is a link, which is not followed)", p.text, p.behind))
		default:
			missing = append(missing, fmt.Sprintf("%q matches no file", p.text))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", archive.ErrRefused, strings.Join(missing, ", "))
}

// within tells whether a path is dir or in it.
func within(name, dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") }
