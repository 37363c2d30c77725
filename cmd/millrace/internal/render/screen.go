// Package render shows deliveries to people: live, as lines, as tables and trees.
//
// Everything that others wrote, such as names, reasons and logs, is cleaned of what
// commands a terminal. A state is always a glyph and a word, never a colour alone.
package render

import (
	"io"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/colorprofile"
	"golang.org/x/term"

	"github.com/millrace-cd/millrace/pkg/delivery"
)

// Screen is where a command writes. Writers drop colours that the terminal does not
// have, all of them where there is none or NO_COLOR is set.
type Screen struct {
	Out *colorprofile.Writer // data
	Err *colorprofile.Writer // progress, hints, errors

	Environ []string
	In      io.Reader
	err     io.Writer
}

// NewScreen looks at what the writers are and what the environment asks for.
func NewScreen(in io.Reader, out, err io.Writer, environ []string) *Screen {
	return &Screen{
		Out: colorprofile.NewWriter(out, environ), Err: colorprofile.NewWriter(err, environ),
		Environ: environ, In: in, err: err,
	}
}

// Lookup is a variable of the environment, or "".
func (s *Screen) Lookup(name string) string {
	for _, kv := range s.Environ {
		if value, ok := strings.CutPrefix(kv, name+"="); ok {
			return value
		}
	}
	return ""
}

// Live tells whether progress may be redrawn in place.
func (s *Screen) Live() bool {
	return terminal(s.err) && terminal(s.In) && s.Lookup("TERM") != "dumb" && s.Lookup("CI") == ""
}

// Bytes is where data goes that is no text of ours, as it is; only a terminal gets it
// cleaned.
func (s *Screen) Bytes() io.Writer {
	if terminal(s.Out.Forward) {
		return delivery.Clean(s.Out.Forward, false)
	}
	return s.Out.Forward
}

// Coloured tells whether w shows colours.
func Coloured(w *colorprofile.Writer) bool { return w.Profile > colorprofile.ASCII }

// Width is that of w in columns; 80 where it has none.
func Width(w *colorprofile.Writer) int {
	if f, ok := w.Forward.(interface{ Fd() uintptr }); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return 80
}

func terminal(v any) bool {
	f, ok := v.(interface{ Fd() uintptr })
	return ok && term.IsTerminal(int(f.Fd()))
}

// tone is a colour of the terminal's own palette, so that it suits any background.
type tone string

const (
	normal tone = ""
	green  tone = "2"
	red    tone = "1"
	yellow tone = "3"
	blue   tone = "6"
	dim    tone = "8"
)

func (t tone) paint(s string) string {
	if t == normal || s == "" {
		return s
	}
	return lipgloss.NewStyle().Foreground(lipgloss.Color(string(t))).Render(s)
}

// Bold is for headings.
func Bold(s string) string { return lipgloss.NewStyle().Bold(true).Render(s) }

// Dim is for what one may overlook.
func Dim(s string) string { return dim.paint(s) }

// pad fills s with blanks to width columns.
func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-lipgloss.Width(s)))
}

func padLeft(s string, width int) string {
	return strings.Repeat(" ", max(0, width-lipgloss.Width(s))) + s
}
