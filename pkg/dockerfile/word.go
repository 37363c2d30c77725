package dockerfile

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// words separates words at blanks that are in no quotes. They keep their quotes.
func words(text string, escape byte) (all []string) {
	var word strings.Builder
	var quote byte
	for i := 0; i < len(text); i++ {
		c := text[i]
		if quote == 0 && (c == ' ' || c == '\t') {
			if word.Len() > 0 {
				all = append(all, word.String())
				word.Reset()
			}
			continue
		}
		word.WriteByte(c)
		switch {
		case c == escape && quote != '\'' && i+1 < len(text):
			i++
			word.WriteByte(text[i])
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case c == quote:
			quote = 0
		}
	}
	if word.Len() > 0 {
		all = append(all, word.String())
	}
	return all
}

// lookup gives the value of a variable, if it is known.
type lookup func(name string) (string, bool)

// maxValue bounds what variables can grow to, in bytes.
const maxValue = 4096

// expand does to a word what builders do: it resolves quotes and variables. A variable
// that is not known is an error.
func expand(word string, escape byte, look lookup) (string, error) {
	e := expander{text: word, escape: escape, look: look}
	out, err := e.until(0, 0)
	if err == nil && len(out) > maxValue {
		err = fmt.Errorf("%.40q… becomes longer than %d bytes", word, maxValue)
	}
	return out, err
}

type expander struct {
	text   string
	at     int
	escape byte
	look   lookup
}

var errQuote = errors.New("a quote or brace is never closed")

// until reads up to end, which it takes; 0 is the end of the text. Depth counts braces.
func (e *expander) until(end byte, depth int) (string, error) {
	var out strings.Builder
	quoted := false
	for ; e.at < len(e.text) && out.Len() <= maxValue; e.at++ {
		switch c := e.text[e.at]; {
		case c == end && end != 0 && !quoted:
			return out.String(), nil
		case c == '\'' && !quoted:
			rest := e.text[e.at+1:]
			n := strings.IndexByte(rest, '\'')
			if n < 0 {
				return "", errQuote
			}
			out.WriteString(rest[:n])
			e.at += n + 1
		case c == '"':
			quoted = !quoted
		case c == e.escape && e.at+1 < len(e.text):
			e.at++
			out.WriteByte(e.text[e.at])
		case c == '$':
			value, err := e.variable(depth)
			if err != nil {
				return "", err
			}
			out.WriteString(value)
		default:
			out.WriteByte(c)
		}
	}
	if quoted || end != 0 {
		return "", errQuote
	}
	return out.String(), nil
}

var (
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*`)
	modifier     = regexp.MustCompile(`^:?[-+]`)
)

// variable reads one, from its $ to its last character.
func (e *expander) variable(depth int) (string, error) {
	rest := e.text[e.at+1:]
	braces := strings.HasPrefix(rest, "{")
	rest = strings.TrimPrefix(rest, "{")
	name := variableName.FindString(rest)
	if name == "" {
		return "", errors.New("a $ with no name after it")
	}
	rest = rest[len(name):]
	value, known := e.look(name)
	if !braces || strings.HasPrefix(rest, "}") {
		e.at = len(e.text) - len(rest)
		if !braces {
			e.at--
		}
		if !known {
			return "", fmt.Errorf("$%.80s is not known here: give it a value by an ARG before the first FROM, or in release.dockerfile.args", name)
		}
		return value, nil
	}
	how := modifier.FindString(rest)
	if how == "" || depth > 8 {
		return "", fmt.Errorf("${%.80s…}: write ${NAME}, ${NAME:-default} or ${NAME:+other}", name)
	}
	e.at = len(e.text) - len(rest) + len(how)
	other, err := e.until('}', depth+1)
	filled := known && (value != "" || how[0] != ':')
	switch {
	case err != nil:
		return "", err
	case how[len(how)-1] == '-' && filled:
		return value, nil
	case how[len(how)-1] == '+' && !filled:
		return "", nil
	}
	return other, nil
}
