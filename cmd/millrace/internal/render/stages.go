package render

import (
	"fmt"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/millrace-cd/millrace/pkg/delivery"
)

// Board is a delivery as a block of lines: one for each stage, and below a stage
// that runs or failed its steps.
type Board struct {
	Width int                             // columns that lines are cut to; 0 for no limit
	Last  func(stage, step string) string // last line of a running step's log; may be nil
	Spin  string                          // glyph of what runs, if it moves
}

// Lines are the board of d at the time now.
func (b Board) Lines(d delivery.Delivery, now time.Time) []string {
	width := 0
	for _, s := range d.Stages {
		width = max(width, lipgloss.Width(s.Title()))
	}
	var lines []string
	for _, s := range d.Stages {
		lines = append(lines, b.stage(s, width, now))
		if s.State == delivery.Running || s.State.Ended() && !s.State.Good() {
			lines = append(lines, b.steps(s, width, now)...)
		}
	}
	return lines
}

func (b Board) stage(s delivery.Stage, width int, now time.Time) string {
	elapsed := ""
	if d := s.Elapsed(now); d > 0 && s.State != delivery.Skipped {
		elapsed = Duration(d)
	}
	line := fmt.Sprintf("  %s %s  %s %s", b.glyph(s.State), pad(delivery.Text(s.Title()), width), word(s.State), padLeft(elapsed, 7))
	return b.fit(strings.TrimRight(line+"  "+b.detail(s), " "))
}

// detail is what there is to say of a stage in a few words.
func (b Board) detail(s delivery.Stage) string {
	var parts []string
	switch {
	case s.Waiting != "":
		parts = append(parts, yellow.paint("waits for "+FirstLine(s.Waiting, 100)))
	case s.State == delivery.Retrying:
		parts = append(parts, yellow.paint("attempt "+fmt.Sprint(s.Attempt)+": "+FirstLine(s.Reason, 100)))
	case s.State.Ended() && !s.State.Good() && s.State != delivery.Skipped:
		parts = append(parts, FirstLine(s.Reason, 200))
	case s.State.Good():
		parts = append(parts, tally(s.Tally()), delivery.Text(s.URL))
	}
	if s.Attempt > 1 && s.State != delivery.Retrying {
		parts = append(parts, Dim(fmt.Sprintf("attempt %d", s.Attempt)))
	}
	if w := s.Wait(); w >= 100*time.Millisecond && s.State != delivery.Skipped {
		parts = append(parts, Dim("queued "+Duration(w)))
	}
	return join(parts)
}

func (b Board) steps(s delivery.Stage, width int, now time.Time) []string {
	var lines []string
	for _, step := range s.Steps {
		state := stepState(step)
		if s.State == delivery.Running && state != delivery.Running && state.Good() {
			continue // finished ones collapse
		}
		line := fmt.Sprintf("    %s %s  %s %s", b.glyph(state), pad(delivery.Text(step.Name), width-2), word(state), padLeft(Duration(step.Elapsed(now)), 7))
		if say := b.say(s, step); say != "" {
			line += "  " + say
		}
		lines = append(lines, b.fit(strings.TrimRight(line, " ")))
	}
	return lines
}

func (b Board) say(s delivery.Stage, step delivery.Step) string {
	if step.Result == "" && b.Last != nil {
		return Dim(b.Last(s.Name, step.Name))
	}
	return outcome(step)
}

func (b Board) glyph(s delivery.State) string {
	glyph, t := look(s)
	if s == delivery.Running && b.Spin != "" {
		glyph = b.Spin
	}
	return t.paint(glyph)
}

func word(s delivery.State) string {
	_, t := look(s)
	return pad(t.paint(string(s)), len("superseded"))
}

func (b Board) fit(line string) string {
	if b.Width == 0 {
		return line
	}
	return cut(line, b.Width)
}

func join(parts []string) string {
	var some []string
	for _, p := range parts {
		if p != "" {
			some = append(some, p)
		}
	}
	return strings.Join(some, "  ")
}

// Title is the delivery in one line: app, branch, commit and its message.
func Title(d delivery.Delivery) string {
	c := d.Commit
	return join([]string{Bold(delivery.Text(d.App)), Branch(c.Ref), yellow.paint(delivery.Text(c.Short())), FirstLine(c.Message, 60), Dim(fmt.Sprintf("delivery %d", d.Number))})
}
