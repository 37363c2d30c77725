package render

import (
	"fmt"
	"io"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/millrace-cd/millrace/pkg/delivery"
)

const (
	barWidth  = 24 // columns that the whole time takes
	nameWidth = 60 // columns of the longest name that is shown whole
)

// Trace writes a delivery's spans as a tree, each with its time and with a bar that
// shows when in the whole it was.
func Trace(w io.Writer, root *delivery.Span) error {
	from, to := extent(root)
	rows := rows(root, "", "")
	width := 0
	for _, r := range rows {
		width = min(max(width, lipgloss.Width(r.name)), nameWidth)
	}
	var b strings.Builder
	for _, r := range rows {
		line := fmt.Sprintf("%s %s  %s", pad(cut(r.name, width), width), padLeft(Duration(r.span.End.Sub(r.span.Start)), 7), bar(r.span, from, to))
		if r.span.Error != "" {
			line += "  " + red.paint("✗ "+FirstLine(r.span.Error, 60))
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	b.WriteString("\n" + totals(root) + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

type row struct {
	name string // with the tree's lines before it
	span *delivery.Span
}

func rows(s *delivery.Span, first, rest string) []row {
	name := delivery.Text(s.Name)
	if s.Missing {
		name += Dim(" (not ended)")
	}
	all := []row{{first + name, s}}
	for i, c := range s.Children {
		branch, below := "├─ ", "│  "
		if i == len(s.Children)-1 {
			branch, below = "└─ ", "   "
		}
		all = append(all, rows(c, rest+Dim(branch), rest+Dim(below))...)
	}
	return all
}

// extent is the time that all spans together take.
func extent(s *delivery.Span) (from, to time.Time) {
	from, to = s.Start, s.End
	for _, c := range s.Children {
		f, t := extent(c)
		if f.Before(from) {
			from = f
		}
		if t.After(to) {
			to = t
		}
	}
	return from, to
}

// bar is as long as the span's part of the whole, at least one column, and begins
// where it began.
func bar(s *delivery.Span, from, to time.Time) string {
	whole := to.Sub(from)
	if whole <= 0 {
		return ""
	}
	column := func(t time.Time) int { return int(float64(t.Sub(from)) / float64(whole) * barWidth) }
	begin := min(column(s.Start), barWidth-1)
	length := max(1, min(column(s.End), barWidth)-begin)
	t := blue
	switch {
	case s.Error != "":
		t = red
	case s.Name == "queued" || strings.HasSuffix(s.Name, " wait"):
		t = dim
	}
	return Dim(strings.Repeat("·", begin)) + t.paint(strings.Repeat("━", length)) + Dim(strings.Repeat("·", max(0, barWidth-begin-length)))
}

// totals counts the spans and tells whose they are.
func totals(root *delivery.Span) string {
	spans, services := 0, map[string]bool{}
	queued := time.Duration(0)
	var count func(*delivery.Span)
	count = func(s *delivery.Span) {
		if !s.Missing {
			spans++
		}
		if s.Service != "" {
			services[s.Service] = true
		}
		if s.Name == "queued" {
			queued += s.End.Sub(s.Start)
		}
		for _, c := range s.Children {
			count(c)
		}
	}
	count(root)
	return fmt.Sprintf("%s in all, %s of it in queues; %s of %s; trace %s",
		Duration(root.End.Sub(root.Start)), Duration(queued), Count(spans, "span"), Count(len(services), "service"), root.TraceID)
}
