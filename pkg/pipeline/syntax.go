package pipeline

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"
)

// explained is a syntax error in the words of somebody who writes the file.
type explained struct {
	line, column  int
	message, hint string
}

// phrase turns a message of the YAML parser into ours.
type phrase struct {
	theirs, ours, hint string
	context            bool // the place is where the broken thing begins
}

// phrases are the messages of the YAML parser that people meet.
func phrases() []phrase {
	return []phrase{
		{theirs: "no documents", ours: "the file is empty", hint: "begin with version: 1"},
		{theirs: "expected single document", ours: "the file holds more than one document", hint: "remove the line ---"},
		{theirs: errDepth.Error(), ours: errDepth.Error()},
		{
			theirs: "mapping values are not allowed", ours: `unexpected ": "`,
			hint: `put quotes around a text that contains ": ", or mend the indentation`,
		},
		{theirs: "sequence entries are not allowed", ours: "a list cannot begin here", hint: `begin it on a line of its own, or write [a, b]`},
		{theirs: "did not find expected node content", ours: "a value is missing here", hint: "is a [ or { not closed?"},
		{theirs: "did not find expected ',' or ']'", ours: `expected "," or "]"`, hint: "close the [ of %s"},
		{theirs: "did not find expected ',' or '}'", ours: `expected "," or "}"`, hint: "close the { of %s"},
		{theirs: "did not find expected key", ours: "expected a key", hint: "mend the indentation, or put quotes around the value before it"},
		{theirs: "did not find expected '-'", ours: `expected "- "`, hint: "mend the indentation of this list"},
		{theirs: "could not find expected ':'", ours: `expected "key: value"`, hint: "mend the indentation, or put quotes around the text", context: true},
		{theirs: "unexpected end of stream", ours: "this quote is never closed", context: true},
		{theirs: "unexpected document indicator", ours: "this quote is never closed", context: true},
		{theirs: "unknown escape character", ours: "unknown escape in double quotes", hint: `use single quotes, or write \\ for a backslash`},
		{theirs: "expected <document start>", ours: "expected the end of the file", hint: "a file is one mapping of keys"},
		{theirs: "found unknown directive", ours: "a line cannot begin with %", hint: "put quotes around the text"},
	}
}

// explain finds our words for e.
func explain(e *yaml.LoadError, lines []string) explained {
	x := explained{line: e.Mark.Line, column: e.Mark.Column, message: e.Message}
	if strings.Contains(e.Message, "cannot start any token") {
		x.message, x.hint = strayCharacter(at(lines, x.line, x.column))
		return x
	}
	if name, ok := strings.CutPrefix(e.Message, "unknown anchor '"); ok {
		name, _, _ = strings.Cut(name, "'")
		x.message, x.hint = "unknown anchor "+quote(name), "an anchor &"+name+" must stand before it"
		return x
	}
	for _, p := range phrases() {
		if strings.Contains(e.Message, p.theirs) {
			return p.apply(x, e)
		}
	}
	return x
}

func (p phrase) apply(x explained, e *yaml.LoadError) explained {
	x.message, x.hint = p.ours, p.hint
	if p.context && e.ContextMark.Line > 0 {
		x.line, x.column = e.ContextMark.Line, e.ContextMark.Column
	}
	if strings.Contains(p.hint, "%s") {
		x.hint = fmt.Sprintf(p.hint, fmt.Sprintf("line %d", e.ContextMark.Line))
	}
	return x
}

// strayCharacter explains a character that no value begins with.
func strayCharacter(c rune) (message, hint string) {
	if c == '\t' {
		return "a tab cannot indent", "use spaces"
	}
	return fmt.Sprintf("a value cannot begin with %q", string(c)), "put it in quotes"
}

// at is the character at a place, 0 if there is none.
func at(lines []string, line, column int) rune {
	if line < 1 || line > len(lines) {
		return 0
	}
	if text := []rune(lines[line-1]); column >= 1 && column <= len(text) {
		return text[column-1]
	}
	return 0
}
