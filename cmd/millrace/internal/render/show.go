package render

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/millrace-cd/millrace/pkg/archive"
	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/delivery"
	"github.com/millrace-cd/millrace/pkg/event"
)

// Show writes all that is known of a delivery, and where what it released runs now.
func Show(w io.Writer, d delivery.Delivery, environments []bus.Environment, now time.Time) error {
	var b strings.Builder
	b.WriteString(Title(d) + "\n")
	b.WriteString(Sentence(d, now) + "\n\n")
	b.WriteString(strings.Join(all(d, now), "\n") + "\n\n")
	b.WriteString(pairs([][2]string{
		{"repository", delivery.Text(d.Commit.Repository)},
		{"commit", delivery.Text(d.Commit.Hash)},
		{"author", delivery.Text(d.Commit.Author)},
		{"run", asked(d.Commit)},
		{"trace", d.TraceID},
	}))
	if c := Chain(d); c != "" {
		b.WriteString("\n" + c)
	}
	if runs := Runs(d, environments); runs != "" {
		b.WriteString("\n" + runs)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// asked is how the commit event wants the delivery to run, where that is unusual.
func asked(c event.Commit) string {
	var how []string
	if c.Fresh {
		how = append(how, "every step, no verdict reused")
	}
	if c.Untrusted {
		how = append(how, "untrusted: no secrets, no caches")
	}
	return strings.Join(how, "; ")
}

// all is the board with the steps of every stage.
func all(d delivery.Delivery, now time.Time) []string {
	width := 0
	for _, s := range d.Stages {
		width = max(width, len(s.Title()))
	}
	var lines []string
	var b Board
	for _, s := range d.Stages {
		lines = append(lines, b.stage(s, width, now))
		lines = append(lines, b.steps(s, width, now)...)
	}
	return lines
}

// Sentence says how a delivery stands.
func Sentence(d delivery.Delivery, now time.Time) string {
	text := State(d.State)
	if d.State.Ended() {
		text += " in " + Duration(d.Elapsed(now)) + Dim(", "+Ago(d.Finished, now))
	} else {
		text += Dim(" since " + Ago(d.Accepted, now))
	}
	if s, bad := d.Culprit(); bad {
		text += fmt.Sprintf(" at %s: %s", delivery.Text(s.Title()), FirstLine(d.Reason, 300))
	}
	return text
}

// Chain is what was tested, built and released, by digest; "" if nothing was yet.
func Chain(d delivery.Delivery) string {
	links := [][2]string{{"tree", delivery.Text(d.Tree)}, {"snapshot", blob(d.Snapshot)}}
	links = append(links, artifacts(d)...)
	return pairs(append(links, [][2]string{
		{"image", delivery.Text(d.Image)},
		{"tags", delivery.Text(strings.Join(d.Tags, ", "))},
		{"vulnerable", vulnerable(d.Vulnerable)},
		{"statement", delivery.Text(d.Statement)},
	}...))
}

// vulnerable counts what a scanner found, the worst first.
func vulnerable(found map[string]int) string {
	var words []string
	for _, severity := range []string{"critical", "high", "medium", "low", "info", "unknown"} {
		if n := found[severity]; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, severity))
		}
	}
	return strings.Join(words, ", ")
}

func blob(x event.Blob) string {
	if x.Digest == "" {
		return ""
	}
	return delivery.Text(x.Digest) + "  " + Dim(Amount(archive.Stats{Files: x.Files, Bytes: x.Bytes}))
}

// artifacts are a line for each platform, or one where the file names none.
func artifacts(d delivery.Delivery) (lines [][2]string) {
	if len(d.Platforms) == 0 {
		return [][2]string{{"artifact", blob(d.Artifact)}}
	}
	name := "artifact"
	for _, platform := range slices.Sorted(maps.Keys(d.Platforms)) {
		lines = append(lines, [2]string{name, join([]string{blob(d.Platforms[platform]), delivery.Text(platform)})})
		name = ""
	}
	return lines
}

// Runs tells which environments run what of the delivery's app; "" where none does.
func Runs(d delivery.Delivery, environments []bus.Environment) string {
	var rows [][]string
	for _, e := range environments {
		if e.App == d.App {
			rows = append(rows, environment(d, e))
		}
	}
	if rows == nil {
		return ""
	}
	var b strings.Builder
	_ = Table(&b, []string{"ENVIRONMENT", "RUNS", "DELIVERY", "URL"}, rows) // a builder takes all
	return b.String()
}

func environment(d delivery.Delivery, e bus.Environment) []string {
	which := fmt.Sprint(e.Current.Number)
	switch e.Current.Number {
	case 0:
		which = "none"
	case d.Number:
		which = green.paint("✓ " + which + ", this one")
	}
	if e.Phase != bus.PhaseDeployed && e.Number != e.Current.Number {
		which += fmt.Sprintf(", %d %s", e.Number, delivery.Text(e.Phase))
	}
	return []string{delivery.Text(e.Name), Digest(e.Current.Image), which, delivery.Text(e.Current.URL)}
}

// Row is a delivery in a table, under [Header].
func Row(d delivery.Delivery, now time.Time) []string {
	var dots strings.Builder
	for _, s := range d.Stages {
		glyph, t := look(s.State)
		dots.WriteString(t.paint(glyph))
	}
	took := Duration(d.Elapsed(now))
	return []string{
		fmt.Sprint(d.Number), cut(delivery.Text(d.App), 30), State(d.State), dots.String(), cut(Branch(d.Commit.Ref), 24),
		delivery.Text(d.Commit.Short()), took, testsOf(d.Tally()), Ago(d.Accepted, now), FirstLine(d.Commit.Message, 60),
	}
}

// Header names the columns of [Row].
func Header() []string {
	return []string{"DELIVERY", "APP", "STATE", "STAGES", "BRANCH", "COMMIT", "TOOK", "TESTS", "BEGAN", "MESSAGE"}
}
