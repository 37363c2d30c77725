package report

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// escapePicture stands for the escape character, which XML cannot hold.
const escapePicture = '␛'

// sequence is a terminal's control sequence; pytest and gotestsum write its beginning
// in their own ways.
var sequence = regexp.MustCompile(`(?:\x1b|␛|#x1B|\x{FFFD})\[[0-9;?]*[A-Za-z]`)

// plain is s as text: valid, and without anything that moves a cursor.
func plain(s string) string {
	s = sequence.ReplaceAllString(strings.ToValidUTF8(s, "\uFFFD"), "")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
			return -1
		}
		return r
	}, s)
}

// line is s as a name of one line.
func line(s string) string {
	s = s[:min(len(s), 2*maxName)]
	return cut(strings.Join(strings.Fields(plain(s)), " "), maxName)
}

// cut shortens s to max bytes, and keeps its begin.
func cut(s string, max int) string {
	if len(s) <= max {
		return s
	}
	max -= len("…")
	for max > 0 && !utf8.RuneStart(s[max]) {
		max--
	}
	return s[:max] + "…"
}

// message is s as the message of a case: without what the tools of Go print around each
// test, and with its begin and its end if it is too long.
func message(s string, max int) string {
	var b strings.Builder
	for l := range strings.Lines(plain(s)) {
		if !frame(l) {
			b.WriteString(l)
		}
	}
	s = strings.Trim(strings.TrimRightFunc(b.String(), unicode.IsSpace), "\n")
	if len(s) <= max {
		return s
	}
	c := clip{max: max - len(gap)}
	c.add(s)
	return strings.ToValidUTF8(c.String(), "")
}

// frame tells whether a line is one that go test prints for every test.
func frame(l string) bool {
	l = strings.TrimLeft(l, " ")
	for _, begin := range []string{"=== RUN ", "=== PAUSE ", "=== CONT ", "=== NAME ", "--- FAIL: ", "--- PASS: ", "--- SKIP: "} {
		if strings.HasPrefix(l, begin) {
			return true
		}
	}
	return false
}

const gap = "\n…\n"

// clip keeps the first and the last half of max bytes.
type clip struct {
	max        int
	head, tail []byte
	gap        bool
}

func (c *clip) add(s string) {
	half := c.max / 2
	if n := min(half-len(c.head), len(s)); n > 0 {
		c.head, s = append(c.head, s[:n]...), s[n:]
	}
	if len(s) > half {
		c.gap, s = true, s[len(s)-half:]
		c.tail = c.tail[:0]
	}
	if c.tail = append(c.tail, s...); len(c.tail) > 2*half {
		c.gap = true
		c.tail = append(c.tail[:0], c.tail[len(c.tail)-half:]...)
	}
}

func (c *clip) String() string {
	tail := c.tail
	if n := len(tail) - c.max/2; n > 0 {
		c.gap, tail = true, tail[n:]
	}
	if c.gap {
		return string(c.head) + gap + string(tail)
	}
	return string(c.head) + string(tail)
}
