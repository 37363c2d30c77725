package sbom

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// newLines reads lines, with or without a carriage return, of up to [maxLine] bytes.
func newLines(r io.Reader) *bufio.Scanner {
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxLine)
	return in
}

// stanzas reads groups of "key: value" lines with a blank line after each. Only the keys
// that are asked for are kept, each with its first value. It ends when each is false.
func stanzas(r io.Reader, keys []string, each func(map[string]string) bool) error {
	in := newLines(r)
	fields := map[string]string{}
	for in.Scan() {
		line := in.Bytes()
		if len(line) == 0 {
			if len(fields) > 0 && !each(fields) {
				return nil
			}
			clear(fields)
			continue
		}
		field(line, keys, fields)
	}
	if len(fields) > 0 && in.Err() == nil {
		each(fields)
	}
	return in.Err()
}

// field keeps a line if it is asked for. Most lines are not, so they are not copied.
func field(line []byte, keys []string, fields map[string]string) {
	i := slices.Index(line, ':')
	if i < 0 {
		return
	}
	if k := slices.IndexFunc(keys, func(key string) bool { return key == string(line[:i]) }); k >= 0 {
		if _, twice := fields[keys[k]]; !twice {
			fields[keys[k]] = strings.TrimSpace(string(line[i+1:]))
		}
	}
}

// tables reads the [[package]] tables of a lock file in TOML: those keys of each that
// are asked for and are written on one line, as tools write them. A text is without its
// quotes.
func tables(r io.Reader, keys []string, each func(map[string]string)) error {
	in := newLines(r)
	fields, inside := map[string]string{}, false
	end := func() {
		if len(fields) > 0 {
			each(fields)
		}
		clear(fields)
	}
	for in.Scan() {
		line := in.Text()
		if strings.HasPrefix(line, "[") {
			if name := strings.TrimSpace(line); name == "[[package]]" || !strings.HasPrefix(name, "[package.") {
				end()
				inside = name == "[[package]]"
			} else {
				inside = false
			}
			continue
		}
		if key, value, ok := strings.Cut(line, " = "); ok && inside && slices.Contains(keys, key) {
			fields[key] = unquote(strings.TrimSpace(value))
		}
	}
	end()
	return in.Err()
}

// unquote takes the quotes off a text that has any.
func unquote(text string) string {
	if out, err := strconv.Unquote(text); err == nil {
		return out
	}
	if len(text) >= 2 && text[0] == '\'' && text[len(text)-1] == '\'' {
		return text[1 : len(text)-1]
	}
	return text
}

var (
	errJSON = errors.New("it is not the JSON of such a file")
	errDeep = errors.New("its JSON is nested too deeply")
)

// maxSkipped is how deep a value may be that is skipped: the decoder takes memory for
// each level.
const maxSkipped = 1000

// members reads an object as it comes: each is called with each key, and has to read
// the value. Nothing of it is kept, however large it is. Null is as good as empty.
func members(dec *json.Decoder, each func(key string) error) error {
	if null, err := enter(dec, '{'); null || err != nil {
		return err
	}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		key, ok := t.(string)
		if !ok {
			return errJSON
		}
		if err := each(key); err != nil {
			return err
		}
	}
	_, err := dec.Token() // nothing else can follow
	return err
}

// elements reads an array in the same way.
func elements(dec *json.Decoder, each func() error) error {
	if null, err := enter(dec, '['); null || err != nil {
		return err
	}
	for dec.More() {
		if err := each(); err != nil {
			return err
		}
	}
	_, err := dec.Token()
	return err
}

// enter reads the delimiter that an object or an array begins with, or null.
func enter(dec *json.Decoder, want json.Delim) (null bool, err error) {
	t, err := dec.Token()
	if err == nil && t != nil && t != want {
		err = fmt.Errorf("%w: at byte %d", errJSON, dec.InputOffset())
	}
	return t == nil, err
}

// skip reads a value without keeping it.
func skip(dec *json.Decoder) error {
	for depth := 0; ; {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			if depth++; depth > maxSkipped {
				return errDeep
			}
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

// text is a JSON string; anything else is as good as none.
type text string

// UnmarshalJSON implements [json.Unmarshaler].
func (t *text) UnmarshalJSON(data []byte) error {
	var s string
	if json.Unmarshal(data, &s) == nil {
		*t = text(s)
	}
	return nil
}

// boolean is a JSON boolean; anything else is false.
type boolean bool

// UnmarshalJSON implements [json.Unmarshaler].
func (b *boolean) UnmarshalJSON(data []byte) error {
	*b = string(data) == "true"
	return nil
}
