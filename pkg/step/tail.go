package step

import (
	"bytes"
	"strings"
)

// lastLines keeps the last lines of what is written to it.
type lastLines struct {
	most  int
	bytes bytes.Buffer
}

// maxTail is how much of a tail is kept, in bytes.
const maxTail = 2 << 10

func (l *lastLines) Write(b []byte) (int, error) {
	if l.most == 0 {
		return len(b), nil
	}
	_, _ = l.bytes.Write(b[max(0, len(b)-maxTail):]) // never fails
	l.bytes.Next(max(0, l.bytes.Len()-maxTail))
	return len(b), nil
}

// String tells them, or nothing where there are none.
func (l *lastLines) String() string {
	text := strings.TrimSpace(strings.ToValidUTF8(l.bytes.String(), ""))
	if text == "" {
		return ""
	}
	lines := strings.Split(text, "\n")
	return "\nits last lines:\n  " + strings.Join(lines[max(0, len(lines)-l.most):], "\n  ")
}
