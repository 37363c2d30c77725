package render

import (
	"io"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
)

// Table writes rows under a header, in columns as wide as they need; the last one is
// as wide as it likes.
func Table(w io.Writer, header []string, rows [][]string) error {
	widths := make([]int, len(header))
	for _, row := range append([][]string{header}, rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], lipgloss.Width(cell))
		}
	}
	var b strings.Builder
	for n, row := range append([][]string{header}, rows...) {
		line := ""
		for i, cell := range row {
			line += pad(cell, widths[i]) + "  "
		}
		line = strings.TrimRight(line, " ")
		if n == 0 {
			line = Dim(line)
		}
		b.WriteString(line + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// pairs are lines of names and values, values under each other. Those without a
// value are left out.
func pairs(list [][2]string) string {
	width := 0
	for _, p := range list {
		if p[1] != "" {
			width = max(width, lipgloss.Width(p[0]))
		}
	}
	var b strings.Builder
	for _, p := range list {
		if p[1] != "" {
			b.WriteString("  " + Dim(pad(p[0], width)) + "  " + p[1] + "\n")
		}
	}
	return b.String()
}

// cut is s, at most width columns of it.
func cut(s string, width int) string { return ansi.Truncate(s, max(width, 1), "…") }
