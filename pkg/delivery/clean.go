package delivery

import (
	"io"
	"strings"
	"unicode/utf8"
)

// Cleaner removes from text what commands a terminal.
type Cleaner struct {
	dst     io.Writer
	colours bool

	mode mode
	seq  []byte // of a control sequence, without its introducer
	part []byte // of a character whose end has not come
	line bool   // the line has text
	cr   bool   // a carriage return has just ended a line
	out  []byte
}

type mode int

const (
	plain   mode = iota
	escape       // after ESC
	charset      // after ESC and intermediates: one final byte follows
	csi          // after ESC [
	command      // inside OSC, DCS, SOS, PM or APC: up to ST, BEL or the line's end
	closing      // inside one of these, after ESC
)

// maxSGR is the longest colour sequence that is kept, in bytes.
const maxSGR = 64

// Clean returns a writer that passes text on to dst without terminal control
// sequences, other control characters and those that change the direction of text;
// colours (SGR) stay if asked for. Newlines and tabs stay, carriage returns become
// newlines, and what is no UTF-8 becomes U+FFFD. Sequences may be cut anywhere between
// two writes. What it passes on in one write ends with a whole character.
func Clean(dst io.Writer, colours bool) *Cleaner { return &Cleaner{dst: dst, colours: colours} }

// Text is s cleaned, on one line: for names and messages of others.
func Text(s string) string {
	var b strings.Builder
	_, _ = io.WriteString(Clean(&b, false), s)
	return strings.Join(strings.FieldsFunc(b.String(), func(r rune) bool { return r == '\n' || r == '\t' }), " ")
}

// Write cleans p. The error is dst's.
func (c *Cleaner) Write(p []byte) (int, error) {
	c.out = c.out[:0]
	in := append(c.part, p...)
	for len(in) > 0 {
		if in[0] >= utf8.RuneSelf && !utf8.FullRune(in) {
			break
		}
		r, size := utf8.DecodeRune(in)
		c.take(r)
		in = in[size:]
	}
	c.part = append([]byte(nil), in...)
	if len(c.out) == 0 {
		return len(p), nil
	}
	if _, err := c.dst.Write(c.out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// take is one step of the terminal's own state machine (ECMA-48, as xterm reads it).
func (c *Cleaner) take(r rune) {
	if r == '\n' || r == '\r' || r == 0x18 || r == 0x1a { // a line's end or a cancel ends any sequence
		c.mode = plain
	}
	switch c.mode {
	case plain:
		c.text(r)
	case escape:
		c.escaped(r)
	case charset:
		if r < 0x20 || r > 0x2f {
			c.mode = plain
		}
	case csi:
		c.control(r)
	case command:
		c.swallow(r)
	case closing:
		c.mode = command
		if r == '\\' {
			c.mode = plain
		} else {
			c.swallow(r)
		}
	}
}

func (c *Cleaner) text(r rune) {
	switch {
	case r == '\r':
		if c.line { // else there is nothing that it could overwrite
			c.out = append(c.out, '\n')
			c.line, c.cr = false, true
		}
	case r == '\n':
		if !c.cr {
			c.out = append(c.out, '\n')
		}
		c.line, c.cr = false, false
	case r == 0x1b:
		c.mode = escape
	case r == 0x9b:
		c.mode, c.seq = csi, c.seq[:0]
	case r == 0x90 || r == 0x98 || r == 0x9d || r == 0x9e || r == 0x9f:
		c.mode = command
	case r == '\t' || r >= ' ' && !hidden(r):
		c.out = utf8.AppendRune(c.out, r)
		c.line, c.cr = true, false
	}
}

// hidden characters command the terminal, or make text look other than it is.
func hidden(r rune) bool {
	switch {
	case r >= 0x7f && r <= 0x9f: // DEL, C1
	case r == 0x061c || r == 0x200e || r == 0x200f: // direction marks
	case r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069: // embeddings, overrides, isolates
	case r >= 0xe0000 && r <= 0xe007f: // tags
	default:
		return false
	}
	return true
}

func (c *Cleaner) escaped(r rune) {
	switch {
	case r == '[':
		c.mode, c.seq = csi, c.seq[:0]
	case r == ']' || r == 'P' || r == 'X' || r == '^' || r == '_':
		c.mode = command
	case r >= 0x20 && r <= 0x2f:
		c.mode = charset
	case r == 0x1b:
	default:
		c.mode = plain
	}
}

// control is inside ESC [: parameters, intermediates, and the final byte that says
// what it is.
func (c *Cleaner) control(r rune) {
	switch {
	case r == 0x1b:
		c.mode = escape
	case r >= 0x20 && r <= 0x3f:
		if len(c.seq) <= maxSGR {
			c.seq = append(c.seq, byte(r))
		}
	case r < 0x20 || r == 0x7f: // terminals obey these inside a sequence: drop them
	default:
		c.mode = plain
		if r == 'm' && c.colours && isColour(c.seq) {
			c.out = append(c.out, "\x1b["...)
			c.out = append(append(c.out, c.seq...), 'm')
		}
	}
}

func isColour(seq []byte) bool {
	if len(seq) > maxSGR {
		return false
	}
	for _, b := range seq {
		if (b < '0' || b > '9') && b != ';' && b != ':' {
			return false
		}
	}
	return true
}

func (c *Cleaner) swallow(r rune) {
	switch r {
	case 0x07, 0x9c:
		c.mode = plain
	case 0x1b:
		c.mode = closing
	}
}
