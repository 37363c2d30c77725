package secret

import (
	"bytes"
	"io"
	"slices"
)

const (
	mark  = "***"
	piece = 32 << 10 // bytes looked at in one go
)

// Masker passes on what is written to it with [mark] in place of secrets. Not safe for
// concurrent use.
//
// It holds back the last bytes only as long as they may be the beginning of a secret,
// so at most as many as the longest form of a secret has; text in which nothing like
// that is pending passes at once.
type Masker struct {
	w       io.Writer
	m       *matcher
	at      int32
	pending []byte // not yet passed on
	origin  int64  // of pending, in the text
	hits    []span // the secrets from origin on, in order, apart from each other
	masked  int64  // end of the last secret for which a mark was written
	out     bytes.Buffer
	err     error
}

// span are bytes [from, to) of the text.
type span struct{ from, to int64 }

// Mask writes to w. Each value becomes ***, in plain, in base64 (both alphabets, with
// and without padding, folded or inside of a longer text that was encoded), escaped for
// URLs and inside of JSON strings; of a value with several lines each line of 8 bytes
// or more as well. Secrets that overlap share one mark. Values of fewer than
// [MinLength] bytes are left alone.
func Mask(w io.Writer, values []string) *Masker {
	return &Masker{w: w, m: newMatcher(forms(values))}
}

// To begins a new text with the same values, at much less cost than [Mask].
func (m *Masker) To(w io.Writer) *Masker { return &Masker{w: w, m: m.m} }

// MaskString masks one text.
func MaskString(s string, values []string) string {
	var b bytes.Buffer
	m := Mask(&b, values)
	_, _ = m.Write([]byte(s)) // a buffer takes all
	_ = m.Close()
	return b.String()
}

// Write takes all of p, or fails with the error of the writer below, and does so from
// then on.
func (m *Masker) Write(p []byte) (int, error) {
	for part := range slices.Chunk(p, piece) {
		if m.err == nil {
			m.take(part)
		}
	}
	if m.err != nil {
		return 0, m.err
	}
	return len(p), nil
}

// Flush passes on what is held back, for a text that ends here. What follows is a new
// text: a secret across a Flush is not found.
func (m *Masker) Flush() error {
	if m.err == nil {
		m.at = 0
		m.pass(m.pending, m.origin+int64(len(m.pending)))
		m.pending = m.pending[:0]
	}
	return m.err
}

// Close flushes. It leaves the writer below open.
func (m *Masker) Close() error { return m.Flush() }

// take looks at p and passes on what is certain.
func (m *Masker) take(p []byte) {
	from := m.origin + int64(len(m.pending))
	m.scan(p, from)
	text := p
	if len(m.pending) > 0 {
		m.pending = append(m.pending, p...)
		text = m.pending
	}
	rest := m.pass(text, from+int64(len(p))-m.m.pending(m.at))
	if len(m.pending) > 0 {
		m.pending = rest // a later append makes room
	} else {
		m.pending = append(m.pending, rest...)
	}
}

// scan notes the secrets that end in p, which begins at the place from.
func (m *Masker) scan(p []byte, from int64) {
	for i := 0; i < len(p); {
		if m.at == 0 {
			i += m.m.skip(p[i:])
		}
		m.at = m.m.step(m.at, p[i])
		i++
		if n := m.m.states[m.at].found; n > 0 {
			m.note(span{from + int64(i) - int64(n), from + int64(i)})
		}
	}
}

// note adds a secret that ends after all others, joined with those that it overlaps.
func (m *Masker) note(s span) {
	for n := len(m.hits); n > 0 && m.hits[n-1].to > s.from; n-- {
		s.from = min(s.from, m.hits[n-1].from)
		m.hits = m.hits[:n-1]
	}
	m.hits = append(m.hits, s)
}

// pass writes text, which begins at m.origin, up to the place end, and returns what is
// left. A secret that begins by then goes whole: all that may still join it begins
// there or later, and is then masked without a mark of its own.
func (m *Masker) pass(text []byte, end int64) []byte {
	start, at := m.origin, m.origin
	m.out.Reset()
	gone := 0
	for _, hit := range m.hits {
		if hit.from > end {
			break
		}
		gone++
		if hit.from >= m.masked {
			m.out.Write(text[at-start : hit.from-start])
			m.out.WriteString(mark)
		}
		at, m.masked = hit.to, hit.to
	}
	m.hits = slices.Delete(m.hits, 0, gone)
	clear := text[at-start : max(at, end)-start]
	m.origin = max(at, end)
	if m.out.Len() > 0 {
		m.out.Write(clear)
		clear = m.out.Bytes()
	}
	if len(clear) > 0 {
		_, m.err = m.w.Write(clear)
	}
	return text[m.origin-start:]
}
