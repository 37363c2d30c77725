package pipeline

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

const (
	// maxMarks is how many characters that mean something to YAML a file may hold.
	// The scanner keeps up to 2 KiB for each, so this bounds the memory.
	maxMarks = 30_000
	// maxValues is how many values there may be once all aliases are followed.
	maxValues = 50_000
)

// load makes nodes of the text. It is false, with problems reported, where the
// text is no YAML or one that is not worth reading on.
func (d *decoder) load(data []byte) (*yaml.Node, bool) {
	if !d.readable(data) {
		return nil, false
	}
	var doc yaml.Node
	err := yaml.Load(data, &doc, yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthFunc(checkDepth))))
	if err != nil {
		d.syntax(err)
		return nil, false
	}
	root := &doc
	if doc.Kind == yaml.DocumentNode {
		root = doc.Content[0]
	}
	return root, d.inspect(root)
}

// errDepth is both what the scanner is stopped by and what people read.
var errDepth = fmt.Errorf("nested deeper than %d levels", MaxDepth)

// checkDepth stops the scanner early: deep nesting is what costs it most.
func checkDepth(depth int, _ *yaml.DepthContext) error {
	if depth > MaxDepth {
		return errDepth
	}
	return nil
}

// readable tells whether the text may be given to the YAML scanner at all.
func (d *decoder) readable(data []byte) bool {
	if len(data) > MaxBytes {
		d.reportAt(0, 0, fmt.Sprintf("the file has %d bytes, the limit is %d", len(data), MaxBytes), "")
		return false
	}
	if marks(data) > maxMarks {
		d.reportAt(0, 0, "the file holds too many values", "")
		return false
	}
	for i, line := range d.lines {
		if column := unreadable(line); column > 0 {
			d.reportAt(i+1, column, "this character is not text", "save the file as UTF-8 without control characters")
			return false
		}
	}
	return true
}

// marks counts the characters that can begin or end a token.
func marks(data []byte) int {
	n := 0
	for _, c := range data {
		if strings.IndexByte("[]{},:?&*!#\"'", c) >= 0 {
			n++
		}
	}
	return n
}

// unreadable is the column of the first character that no text has, or 0.
func unreadable(line string) int {
	column := 1
	for i, r := range line {
		_, size := utf8.DecodeRuneInString(line[i:])
		if r == utf8.RuneError && size == 1 || r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return column
		}
		column++
	}
	return 0
}

// splitLines cuts where YAML does. A byte order mark at the start takes no column.
func splitLines(data []byte) []string {
	if len(data) > MaxBytes {
		return nil
	}
	text := string(bytes.TrimPrefix(data, []byte("\uFEFF")))
	text = strings.ReplaceAll(text, "\r\n", "\n")
	var lines []string
	for {
		i := strings.IndexFunc(text, isBreak)
		if i < 0 {
			return append(lines, text)
		}
		_, size := utf8.DecodeRuneInString(text[i:])
		lines, text = append(lines, text[:i]), text[i+size:]
	}
}

func isBreak(r rune) bool {
	return r == '\n' || r == '\r' || r == 0x85 || r == 0x2028 || r == 0x2029
}

// syntax reports what the YAML scanner or parser stumbled over.
func (d *decoder) syntax(err error) {
	var e *yaml.LoadError
	if !errors.As(err, &e) {
		d.reportAt(0, 0, err.Error(), "")
		return
	}
	s := explain(e, d.lines)
	line, column := d.clamp(s.line, s.column)
	d.reportAt(line, column, s.message, s.hint)
}

// clamp moves a place behind the end of the file to the end of its last text.
func (d *decoder) clamp(line, column int) (int, int) {
	if line < len(d.lines) || line == len(d.lines) && d.lines[line-1] != "" {
		return line, column
	}
	for i := len(d.lines); i > 0; i-- {
		if text := strings.TrimRight(d.lines[i-1], " \t"); text != "" {
			return i, utf8.RuneCountInString(text) + 1
		}
	}
	return 0, 0
}
