package render

import (
	"fmt"
	"strings"
	"time"

	"github.com/millrace-cd/millrace/pkg/delivery"
	"github.com/millrace-cd/millrace/pkg/event"
)

// Duration is d as people say it: 42ms, 1.2s, 3m04s, 2h05m.
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "0ms"
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 59950*time.Millisecond:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		d = d.Round(time.Second)
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// Ago is how long before now t was: "3m04s ago".
func Ago(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	if d := now.Sub(t); d >= time.Second {
		return Duration(d.Truncate(time.Second)) + " ago"
	}
	return "now"
}

// Bytes is n in units of 1000: 1.2 MB.
func Bytes(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n)/1000, 0
	for ; f >= 999.95 && unit < 4; unit++ {
		f /= 1000
	}
	return fmt.Sprintf("%.1f %cB", f, "kMGTP"[unit])
}

// Digest is the image or digest with its hash cut to twelve digits.
func Digest(s string) string {
	i := strings.LastIndex(s, "sha256:")
	if i < 0 || len(s) < i+7+12 {
		return delivery.Text(s)
	}
	return delivery.Text(s[:i+7+12]) + "…"
}

// Branch is a ref without what all of its kind begin with.
func Branch(ref string) string {
	return delivery.Text(strings.TrimPrefix(strings.TrimPrefix(ref, "refs/heads/"), "refs/tags/"))
}

// look is how a state shows: a glyph, in a colour.
func look(s delivery.State) (glyph string, t tone) {
	switch s {
	case delivery.State(event.Succeeded):
		return "✓", green
	case delivery.State(event.Failed), delivery.State(event.Refused):
		return "✗", red
	case delivery.State(event.Errored):
		return "!", red
	case delivery.State(event.Cancelled), delivery.State(event.Superseded):
		return "⊘", yellow
	case delivery.Running:
		return "●", blue
	case delivery.Waiting, delivery.Retrying:
		return "◌", yellow
	case delivery.Skipped:
		return "–", dim
	}
	return "○", dim
}

// State is the state's glyph and word.
func State(s delivery.State) string {
	glyph, t := look(s)
	return t.paint(glyph + " " + string(s))
}

// stepState is a step's result in the words of states.
func stepState(s delivery.Step) delivery.State {
	switch s.Result {
	case "":
		return delivery.Running
	case event.ResultSuccess:
		return delivery.State(event.Succeeded)
	case event.ResultSkipped:
		return delivery.Skipped
	case event.ResultError:
		return delivery.State(event.Errored)
	}
	return delivery.State(event.Failed)
}

// FirstLine is s up to its first line's end, at most width columns.
func FirstLine(s string, width int) string {
	line, _, more := strings.Cut(strings.TrimSpace(s), "\n")
	line = delivery.Text(line)
	if more {
		line += " …"
	}
	return cut(line, width)
}

// why is what a step says besides its state.
func why(s delivery.Step) string {
	switch {
	case s.Reason != "":
		return FirstLine(s.Reason, 200)
	case s.ExitCode != 0:
		return fmt.Sprintf("exit code %d", s.ExitCode)
	}
	return ""
}

// Done is the glyph of what is ready.
func Done() string { return green.paint("✓") }

// Count is a number of things: 1 step, 2 steps.
func Count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
