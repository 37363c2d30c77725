package render

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/charmbracelet/colorprofile"

	"github.com/millrace-cd/millrace/pkg/delivery"
)

// Logs writes what steps printed, whole lines, each after the name of its step unless
// only one is shown.
type Logs struct {
	W        *colorprofile.Writer
	Prefixed bool

	steps map[string]*stepLog
	err   error
}

// stepLog is the log of one run of a step.
type stepLog struct {
	prefix string
	clean  *delivery.Cleaner
	buf    bytes.Buffer // cleaned, without a line's end yet
}

// Chunk writes the lines that end in c, and at the end of a log all.
func (l *Logs) Chunk(c delivery.Chunk) error {
	key := fmt.Sprint(c.Stage, "/", c.Step, "/", c.Attempt, "/", c.Try)
	s := l.step(key, c)
	_, _ = s.clean.Write(c.Data) // a buffer takes all
	for {
		line, err := s.buf.ReadString('\n')
		if err != nil {
			s.buf.WriteString(line) // not ended: it is put back
			break
		}
		l.line(s.prefix, line)
	}
	if c.End != "" {
		l.end(s, c)
		delete(l.steps, key)
	}
	return l.err
}

func (l *Logs) step(key string, c delivery.Chunk) *stepLog {
	if l.steps == nil {
		l.steps = map[string]*stepLog{}
	}
	s := l.steps[key]
	if s == nil {
		s = &stepLog{}
		s.clean = delivery.Clean(&s.buf, Coloured(l.W))
		if l.Prefixed {
			s.prefix = Dim(delivery.Text(c.Stage+"/"+c.Step)+" │") + " "
		}
		l.steps[key] = s
	}
	return s
}

// Flush writes lines whose end has not come.
func (l *Logs) Flush() error {
	for key, s := range l.steps {
		if s.buf.Len() > 0 {
			l.line(s.prefix, s.buf.String()+"\n")
		}
		delete(l.steps, key)
	}
	return l.err
}

func (l *Logs) end(s *stepLog, c delivery.Chunk) {
	if s.buf.Len() > 0 {
		l.line(s.prefix, s.buf.String()+"\n")
	}
	switch {
	case c.End == "truncated":
		l.line(s.prefix, yellow.paint(fmt.Sprintf("… the rest of %s was not kept", Bytes(c.Bytes)))+"\n")
	case l.Prefixed:
		l.line(s.prefix, Dim("ends: "+delivery.Text(c.End))+"\n")
	}
}

func (l *Logs) line(prefix, text string) {
	if strings.Contains(text, "\x1b[") { // colours end with their line
		text = strings.TrimSuffix(text, "\n") + "\x1b[0m\n"
	}
	if _, err := io.WriteString(l.W, prefix+text); err != nil && l.err == nil {
		l.err = err
	}
}

// Tail writes the last lines of a failed step, and how to see all of them.
func Tail(w io.Writer, d delivery.Delivery, s delivery.Stage, step string, lines []string, total int) {
	name := delivery.Text(s.Title() + "/" + step)
	if total == 0 {
		_, _ = fmt.Fprintf(w, "\n  %s\n", Dim(name+" printed nothing"))
		return
	}
	head := fmt.Sprintf("%s printed, last %d of %d lines:", name, len(lines), total)
	if len(lines) == total {
		head = name + " printed:"
	}
	_, _ = fmt.Fprintf(w, "\n  %s\n", Dim(head))
	for _, line := range lines {
		_, _ = fmt.Fprintf(w, "  %s %s\n", red.paint("│"), line)
	}
	_, _ = fmt.Fprintf(w, "  %s millrace logs %d --stage %s --step %s\n", Dim("all of it:"), d.Number, s.Name, Quote(step))
}

// Quote is s as a shell reads it back.
func Quote(s string) string {
	s = delivery.Text(s)
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@=+,%", r)
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// Reason writes why a stage ended badly, in full.
func Reason(w io.Writer, s delivery.Stage) {
	var b bytes.Buffer
	_, _ = io.WriteString(delivery.Clean(&b, false), strings.TrimSpace(s.Reason)) // a buffer takes all
	_, _ = fmt.Fprintf(w, "\n  %s\n", Dim("why "+delivery.Text(s.Title())+" "+string(s.State)+":"))
	for line := range strings.Lines(b.String()) {
		_, _ = fmt.Fprintf(w, "  %s %s\n", red.paint("│"), strings.TrimSuffix(line, "\n"))
	}
}
