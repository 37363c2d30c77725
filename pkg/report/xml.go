package report

import (
	"bufio"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	maxText  = 64 << 10 // bytes of a text or of an attribute's value; the rest is dropped
	maxTag   = 1 << 20  // bytes of a tag
	maxDepth = 100      // of elements
)

// newDecoder reads r leniently. It fails on entities and on what is larger than max.
func newDecoder(r io.Reader, max int64) *xml.Decoder {
	d := xml.NewDecoder(&filter{in: bufio.NewReaderSize(limit(r, max), 32<<10)})
	d.Strict = false
	return d
}

// filter bounds what the decoder has to hold at a time, and removes what it would fail
// on. It drops comments, instructions and the document's type, cuts texts, and replaces
// characters that XML does not allow but tests print.
type filter struct {
	in   *bufio.Reader
	out  []byte // of which a part was read
	read int
	text int // bytes since the last tag
	err  error
}

// Read is for the decoder.
func (f *filter) Read(p []byte) (int, error) {
	for f.read == len(f.out) {
		if f.err != nil {
			return 0, f.err
		}
		f.out, f.read = f.out[:0], 0
		f.err = f.next()
	}
	n := copy(p, f.out[f.read:])
	f.read += n
	return n, nil
}

// next takes in one tag, or some text, or something that it drops.
func (f *filter) next() error {
	peeked, err := f.in.Peek(9)
	if len(peeked) == 0 {
		return err
	}
	switch head := string(peeked); {
	case strings.HasPrefix(head, "<!--"):
		_, _ = f.in.Discard(4)
		return f.until("-->", nil)
	case strings.HasPrefix(head, "<![CDATA["):
		return f.cdata()
	case strings.HasPrefix(head, "<!"):
		return f.until(">", func(r rune) error {
			if r == '[' {
				return errors.New("its document type defines entities, which are refused")
			}
			return nil
		})
	case strings.HasPrefix(head, "<?"):
		return f.until("?>", nil)
	case head[0] == '<':
		f.text = 0
		return f.tag()
	}
	return f.chars()
}

// until reads up to and with end, at most four bytes long.
func (f *filter) until(end string, each func(rune) error) error {
	var want, last, mask uint32
	for i := range len(end) {
		want, mask = want<<8|uint32(end[i]), mask<<8|0xff
	}
	for {
		r, _, err := f.in.ReadRune()
		if err != nil {
			return err
		}
		if each != nil {
			if err := each(r); err != nil {
				return err
			}
		}
		if last = last<<8 | uint32(min(r, 0xff)); last&mask == want { //nolint:gosec // no rune is negative
			return nil
		}
	}
}

func (f *filter) cdata() error {
	n, err := f.in.Discard(len("<![CDATA["))
	if err != nil {
		return err
	}
	f.out = append(f.out, "<![CDATA["...)
	err = f.until("]]>", func(r rune) error {
		if n++; n < maxText {
			f.put(r)
		}
		return nil
	})
	if err == nil && n >= maxText {
		f.out = append(f.out, "]]>"...)
	}
	return err
}

// tag takes in a tag, whose quoted values may hold > and be long.
func (f *filter) tag() error {
	quote, value := rune(0), 0
	for {
		r, size, err := f.in.ReadRune()
		switch {
		case err != nil:
			return err
		case quote == 0 && (r == '"' || r == '\''):
			quote, value = r, 0
		case r == quote:
			quote = 0
		case quote != 0:
			value += size
		}
		if value > maxText && quote != 0 {
			continue
		}
		if r == '&' {
			f.reference()
		} else {
			f.put(r)
		}
		if r == '>' && quote == 0 {
			return nil
		}
		if len(f.out) > maxTag {
			return fmt.Errorf("a tag in it is longer than %d bytes", maxTag)
		}
	}
}

// chars takes in text up to the next tag, or some of it.
func (f *filter) chars() error {
	for range 4 << 10 {
		if next, _ := f.in.Peek(1); len(next) == 1 && next[0] == '<' {
			return nil
		}
		r, size, err := f.in.ReadRune()
		if err != nil {
			return err
		}
		switch f.text += size; {
		case f.text > maxText:
		case r == '&':
			f.reference()
		default:
			f.put(r)
		}
	}
	return nil
}

func (f *filter) put(r rune) {
	if !allowed(r) {
		r = replacement(r)
	}
	f.out = utf8.AppendRune(f.out, r)
}

// reference takes in what follows an ampersand, where that is the number of a character
// that XML does not allow; else the ampersand alone.
func (f *filter) reference() {
	head, _ := f.in.Peek(10)
	name, _, found := strings.Cut(string(head), ";")
	if digits, ok := strings.CutPrefix(name, "#"); ok && found {
		base := 10
		if digits[:min(1, len(digits))] == "x" {
			base, digits = 16, digits[1:]
		}
		if n, err := strconv.ParseUint(digits, base, 31); err == nil && !allowed(rune(n)) { //nolint:gosec // 31 bits
			_, _ = f.in.Discard(len(name) + 1)
			f.put(rune(n)) //nolint:gosec // 31 bits
			return
		}
	}
	f.out = append(f.out, '&')
}

// allowed tells whether XML 1.0 has the character.
func allowed(r rune) bool {
	return r >= ' ' && r < 0xD800 || r == '\t' || r == '\n' || r == '\r' || r >= 0xE000 && r < 0xFFFE || r >= 0x10000 && r <= utf8.MaxRune
}

func replacement(r rune) rune {
	if r == '\x1b' {
		return escapePicture
	}
	return utf8.RuneError
}
