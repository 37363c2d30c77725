package pipeline

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxProblems is how many are told of one file; more do not help anyone.
const maxProblems = 100

// sourceWidth is how much of a line is shown, in characters.
const sourceWidth = 120

// Problem is one thing that is wrong with a file.
type Problem struct {
	File    string `json:"file"`             // as the user knows it
	Line    int    `json:"line,omitempty"`   // from 1; 0 means the file as a whole
	Column  int    `json:"column,omitempty"` // from 1, in characters
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`   // the way out, if known
	Source  string `json:"source,omitempty"` // text of the line
}

// Problems are all that is wrong with a file, in its order; at most 100.
type Problems []Problem

// Error shows each problem as compilers do, and counts them in the last line.
func (ps Problems) Error() string {
	var b strings.Builder
	for _, p := range ps {
		b.WriteString(p.Error())
		b.WriteByte('\n')
	}
	file := ""
	if len(ps) > 0 {
		file = ps[0].File
	}
	switch {
	case len(ps) == 1:
		fmt.Fprintf(&b, "1 problem in %s", file)
	case len(ps) >= maxProblems:
		fmt.Fprintf(&b, "%d problems or more in %s", len(ps), file)
	default:
		fmt.Fprintf(&b, "%d problems in %s", len(ps), file)
	}
	return b.String()
}

// Error is the problem with its place, and the line with a caret under it.
func (p Problem) Error() string {
	if p.Line == 0 {
		return strings.TrimSuffix(fmt.Sprintf("%s: %s; %s", p.File, p.Message, p.Hint), "; ")
	}
	head := fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
	text, indent := p.excerpt()
	if strings.TrimSpace(text) == "" {
		return strings.TrimSuffix(head+"; "+p.Hint, "; ")
	}
	caret := strings.TrimRight(indent+"^ "+p.Hint, " ")
	return fmt.Sprintf("%s\n%5d | %s\n%5s | %s", head, p.Line, text, "", caret)
}

// excerpt is the part of the line around the column, safe to print, and the blanks
// that put a caret under the column.
func (p Problem) excerpt() (text, indent string) {
	from := 0
	if utf8.RuneCountInString(p.Source) > sourceWidth && p.Column > sourceWidth*3/4 {
		from = p.Column - sourceWidth/2
	}
	line, more := window(p.Source, from, sourceWidth)
	text, indent = printable(line), blanks(line[:min(max(p.Column-1-from, 0), len(line))])
	if from > 0 {
		text, indent = "…"+text, " "+indent
	}
	if more {
		text += "…"
	}
	return strings.TrimRight(text, " \t"), indent
}

// window is up to width characters of s after the first from, and whether more follow.
func window(s string, from, width int) (part []rune, more bool) {
	i := 0
	for _, r := range s {
		if i >= from+width {
			return part, true
		}
		if i >= from {
			part = append(part, r)
		}
		i++
	}
	return part, false
}

// printable replaces what could command a terminal.
func printable(line []rune) string {
	shown := make([]rune, len(line))
	for i, r := range line {
		if r != '\t' && !unicode.IsPrint(r) {
			r = utf8.RuneError
		}
		shown[i] = r
	}
	return string(shown)
}

// blanks are as wide as line: tabs stay tabs.
func blanks(line []rune) string {
	wide := make([]rune, len(line))
	for i, r := range line {
		wide[i] = ' '
		if r == '\t' {
			wide[i] = '\t'
		}
	}
	return string(wide)
}

// quote shows a text of the file inside a message, shortened.
func quote(s string) string {
	const limit = 60
	if runes := []rune(s); len(runes) > limit {
		s = string(runes[:limit-1]) + "…"
	}
	return fmt.Sprintf("%q", s)
}

// problems are those found, each once, in the order of the file.
func (d *decoder) problems() Problems {
	slices.SortStableFunc(d.found, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return slices.Compact(d.found)
}

// full tells whether it is not worth to look for more problems.
func (d *decoder) full() bool { return len(d.found) >= maxProblems }

// reportAt notes a problem at a place; the line's text is looked up.
func (d *decoder) reportAt(line, column int, message, hint string) {
	if d.full() {
		return
	}
	p := Problem{File: d.file, Line: line, Column: column, Message: message, Hint: hint}
	if line > 0 && line <= len(d.lines) {
		p.Source = d.lines[line-1]
	}
	if !slices.Contains(d.found, p) {
		d.found = append(d.found, p)
	}
}
