package render

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/millrace-cd/millrace/pkg/delivery"
	"github.com/millrace-cd/millrace/pkg/event"
)

// How much of failed tests is shown; events of ours have no more.
const (
	maxCases   = 20 // of a step
	maxMessage = 8  // lines of one
	maxColumns = 200
)

// outcome is all that a step says besides its state.
func outcome(s delivery.Step) string {
	return join([]string{tests(s.Tests), coverage(s.Coverage), flaky(s), reused(s.Reused), why(s)})
}

// tests is what reports say: 31 passed, 1 failed, 2 skipped.
func tests(t *event.Tests) string {
	if t == nil {
		return ""
	}
	parts := []string{fmt.Sprintf("%d passed", t.Passed)}
	for _, p := range []struct {
		n    int
		what string
		t    tone
	}{{t.Failed, "failed", red}, {t.Skipped, "skipped", normal}, {t.Quarantined, "quarantined", yellow}} {
		if p.n > 0 {
			parts = append(parts, p.t.paint(fmt.Sprintf("%d %s", p.n, p.what)))
		}
	}
	return strings.Join(parts, ", ")
}

// coverage is rounded down, so that what is below the wanted never looks like it.
func coverage(c *event.Coverage) string {
	if c == nil {
		return ""
	}
	text := "coverage " + percent(math.Floor(c.Percent*10+1e-9)/10)
	switch {
	case c.Wanted == 0:
		return text
	case c.Percent < c.Wanted:
		return red.paint(text + " (wanted " + percent(c.Wanted) + ")")
	}
	return text + " (wanted " + percent(c.Wanted) + ")"
}

func percent(p float64) string { return strconv.FormatFloat(p, 'f', -1, 64) + " %" }

func flaky(s delivery.Step) string {
	switch {
	case s.Flaky:
		return yellow.paint(fmt.Sprintf("flaky: passed at try %d", s.Tries))
	case s.Tries > 1:
		return fmt.Sprintf("tried %d times", s.Tries)
	}
	return ""
}

func reused(v *event.Verdict) string {
	if v == nil {
		return ""
	}
	return Dim(fmt.Sprintf("reused from delivery %d (%s)", v.Number, short(v.Commit)))
}

func short(hash string) string { return delivery.Text(event.Commit{Hash: hash}.Short()) }

// tally is what a stage's steps came to in a few words.
func tally(t delivery.Tally) string {
	if t.Steps == 0 {
		return ""
	}
	text := Count(t.Steps, "step")
	if t.Reused > 0 {
		text += fmt.Sprintf(", %d reused", t.Reused)
	}
	return join([]string{text, tested(t)})
}

// tested is the part of a tally that is about tests; "" where no reports tell of any.
func tested(t delivery.Tally) string {
	var parts []string
	if t.Tests.Passed+t.Tests.Failed+t.Tests.Skipped+t.Tests.Quarantined > 0 {
		parts = append(parts, tests(&t.Tests))
	}
	if t.Flaky > 0 {
		parts = append(parts, yellow.paint(Count(t.Flaky, "flaky step")))
	}
	return join(parts)
}

// testsOf is a tally's tests in a column: 94, or 1 of 94 failed, 1 flaky.
func testsOf(t delivery.Tally) string {
	var parts []string
	all := t.Tests.Passed + t.Tests.Failed + t.Tests.Quarantined
	switch {
	case t.Tests.Failed > 0:
		parts = append(parts, red.paint(fmt.Sprintf("%d of %d failed", t.Tests.Failed, all)))
	case all > 0:
		parts = append(parts, fmt.Sprintf("%d passed", t.Tests.Passed))
	}
	if t.Flaky > 0 {
		parts = append(parts, yellow.paint(fmt.Sprintf("%d flaky", t.Flaky)))
	}
	return strings.Join(parts, ", ")
}

// Cases writes the tests of a step that failed, with what they said.
func Cases(w io.Writer, s delivery.Stage, step delivery.Step) {
	if step.Tests == nil || len(step.Tests.Failures) == 0 {
		return
	}
	shown := step.Tests.Failures[:min(len(step.Tests.Failures), maxCases)]
	_, _ = fmt.Fprintf(w, "\n  %s\n", Dim("tests of "+delivery.Text(s.Title()+"/"+step.Name)+" that failed:"))
	for _, c := range shown {
		glyph := red.paint("✗")
		if c.Quarantined {
			glyph = yellow.paint("✗ quarantined")
		}
		_, _ = fmt.Fprintf(w, "  %s %s\n", glyph, join([]string{cut(delivery.Text(c.Name), maxColumns), Dim(place(c))}))
		message(w, c.Message)
	}
	if more := step.Tests.Failed + step.Tests.Quarantined - len(shown); more > 0 {
		_, _ = fmt.Fprintf(w, "  %s\n", Dim(fmt.Sprintf("and %d more", more)))
	}
}

// place is where in the sources a test is: cart_test.go:40.
func place(c event.Case) string {
	if c.File == "" {
		return ""
	}
	at := delivery.Text(c.File)
	if c.Line > 0 {
		at += ":" + strconv.Itoa(c.Line)
	}
	return cut(at, maxColumns)
}

// message writes the first lines of what a test said.
func message(w io.Writer, text string) {
	var b bytes.Buffer
	_, _ = io.WriteString(delivery.Clean(&b, false), strings.TrimSpace(text)) // a buffer takes all
	lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	if len(lines) == 1 && lines[0] == "" {
		return
	}
	if len(lines) > maxMessage {
		lines = append(lines[:maxMessage-1], "…")
	}
	for _, line := range lines {
		_, _ = fmt.Fprintf(w, "    %s %s\n", red.paint("│"), cut(strings.ReplaceAll(line, "\t", "    "), maxColumns))
	}
}
