package sbom

import (
	"strings"
	"unicode"
)

// printable makes a text of someone else fit for one line of a terminal: what steers the
// terminal, or the direction of the text, becomes a question mark.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}

// cut keeps the beginning of a text, up to a number of bytes.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "…"
}
