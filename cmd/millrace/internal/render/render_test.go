package render

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/google/go-cmp/cmp"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/delivery"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/telemetry"
)

var update = flag.Bool("update", false, "write the golden files")

func at(ms int) time.Time {
	return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(time.Duration(ms) * time.Millisecond)
}

// sample is a delivery in the middle of its build.
func sample() delivery.Delivery {
	unit := delivery.Step{Step: event.Step{Name: "unit[go=1.26]", Result: event.ResultSuccess, Seconds: 1.5}}
	compile := delivery.Step{Step: event.Step{Name: "build"}, Started: at(3100)}
	return delivery.Delivery{
		Number: 12, App: "shop", State: delivery.Running, Accepted: at(0), TraceID: strings.Repeat("a", 32),
		Commit: event.Commit{App: "shop", Repository: "https://example.com/shop.git", Hash: strings.Repeat("0123456789", 4), Ref: "refs/heads/main", Author: "Ada", Message: "Say hello"},
		Stages: []delivery.Stage{
			{Name: "test", State: "succeeded", Attempt: 1, Queued: at(0), Started: at(250), Finished: at(2750), Steps: []delivery.Step{unit}},
			{Name: "build", State: delivery.Running, Attempt: 2, Queued: at(2750), Started: at(3000), Steps: []delivery.Step{compile}},
			{Name: "release", State: delivery.Pending},
			{Name: "deploy", Environment: "production", State: delivery.Pending},
		},
	}
}

// hostile is sample with names and reasons that command a terminal.
func hostile() delivery.Delivery {
	const evil = "\x1b]0;owned\a\x1b[2J\u202eevil\nline"
	d := sample()
	d.State, d.Finished, d.Reason = "failed", at(5000), evil
	d.App, d.Commit.Message, d.Commit.Author, d.Commit.Ref, d.Commit.Hash, d.Commit.Repository = evil, evil, evil, evil, evil, evil
	d.Tree, d.Image, d.Tags, d.Snapshot.Digest = evil, evil, []string{evil}, evil
	s := &d.Stages[1]
	s.State, s.Reason, s.Worker, s.Waiting, s.URL, s.Environment, s.Finished = "failed", evil, evil, evil, evil, evil, at(5000)
	step := &s.Steps[0]
	step.Name, step.Reason, step.Result, step.Reused = evil, evil, event.ResultFailure, &event.Verdict{Commit: evil}
	step.Tests = &event.Tests{Failed: 1, Failures: []event.Case{{Name: evil, File: evil, Message: evil}}}
	d.Platforms = map[string]event.Blob{evil: {Digest: evil}}
	return d
}

func TestBoard(t *testing.T) {
	last := func(stage, step string) string { return "go: compiling " + stage + " " + step }
	golden(t, "board.txt", text(Board{Last: last}.Lines(sample(), at(10_000))))
	waiting := sample()
	waiting.Stages[1] = delivery.Stage{Name: "build", State: delivery.Retrying, Attempt: 1, Reason: "no route to host\nat all", Started: at(3000)}
	waiting.Stages[2] = delivery.Stage{Name: "release", State: delivery.Waiting, Waiting: "the lock of production", Attempt: 1, Started: at(3000)}
	golden(t, "waiting.txt", text(Board{Width: 60}.Lines(waiting, at(10_000))))
}

// judged is sample with all that steps can come to, and an artifact for two platforms.
func judged() delivery.Delivery {
	d := sample()
	d.Commit.Fresh, d.Commit.Untrusted = true, true
	failures := []event.Case{
		{Name: "TestAdd", Message: "add_test.go:12: want 3,\n\tgot 4\n", File: "add_test.go", Line: 12},
		{Name: "shop.cart.TestTotal", Message: strings.Repeat("a line\n", 20), File: "cart.py", Quarantined: true},
		{Name: "TestSilent"},
	}
	step := func(name, result string, change func(*event.Step)) delivery.Step {
		s := event.Step{Name: name, Result: result, Seconds: 1.5}
		change(&s)
		return delivery.Step{Step: s}
	}
	s := &d.Stages[0]
	s.State, s.Reason = "failed", "unit: 2 of 36 tests failed"
	s.Steps = []delivery.Step{
		step("unit", event.ResultFailure, func(s *event.Step) {
			s.ExitCode, s.Reason = 1, "2 of 36 tests failed: TestAdd (add_test.go:12): want 3,\ngot 4"
			s.Tests = &event.Tests{Passed: 31, Failed: 2, Skipped: 2, Quarantined: 3, Failures: failures}
			s.Coverage, s.Tries = &event.Coverage{Percent: 69.96, Wanted: 70}, 3
		}),
		step("integration", event.ResultSuccess, func(s *event.Step) {
			s.Tests, s.Coverage = &event.Tests{Passed: 12}, &event.Coverage{Percent: 83.4, Wanted: 70}
			s.Tries, s.Flaky = 2, true
		}),
		step("lint", event.ResultSuccess, func(s *event.Step) {
			s.Reused, s.Coverage = &event.Verdict{Number: 12, Commit: "3fa9c1d00000"}, &event.Coverage{Percent: 50}
		}),
	}
	blob := func(digit string) event.Blob {
		return event.Blob{Digest: "sha256:" + strings.Repeat(digit, 64), Files: 1, Bytes: 1234}
	}
	d.Artifact, d.Platforms = blob("2"), map[string]event.Blob{"linux/arm64": blob("3"), "linux/amd64": blob("2")}
	return d
}

func TestTests(t *testing.T) {
	d := judged()
	var b bytes.Buffer
	w := plain(&b)
	if err := Show(w, d, nil, at(69_000)); err != nil {
		t.Fatal(err)
	}
	for _, step := range d.Stages[0].Steps {
		Cases(w, d.Stages[0], step)
		Plain{w}.Change(d, delivery.Change{Kind: delivery.StepFinished, Time: at(9000), Stage: d.Stages[0], Step: step})
	}
	_ = Table(w, Header(), [][]string{Row(d, at(61_000))})
	d.Stages[0].State = "succeeded"
	Plain{w}.Change(d, delivery.Change{Kind: delivery.StageEnded, Time: at(9000), Stage: d.Stages[0]})
	_, _ = w.WriteString(text(Board{Width: 100}.Lines(d, at(10_000))))
	golden(t, "tests.txt", b.String())
}

// text is what lines say, without their colours.
func text(lines []string) string {
	var b bytes.Buffer
	_, _ = plain(&b).WriteString(strings.Join(lines, "\n") + "\n")
	return b.String()
}

func TestShow(t *testing.T) {
	d := sample()
	d.State, d.Finished, d.Reason = "failed", at(9000), "build: exit code 2\nmore"
	s := &d.Stages[1]
	s.State, s.Reason, s.Finished = "failed", d.Reason, at(9000)
	s.Steps[0].Result, s.Steps[0].ExitCode, s.Steps[0].Seconds = event.ResultFailure, 2, 5.9
	d.Stages[2].State, d.Stages[3].State = delivery.Skipped, delivery.Skipped
	d.Tree, d.Snapshot = strings.Repeat("b", 40), event.Blob{Digest: "sha256:" + strings.Repeat("1", 64), Files: 4, Bytes: 4321}
	running := bus.Running{Number: 11, Image: "r/shop@sha256:" + strings.Repeat("3", 64), URL: "http://127.0.0.1:32768/"}
	environments := []bus.Environment{{App: "shop", Name: "production", Number: 11, Phase: bus.PhaseDeployed, Current: running}, {App: "blog", Name: "production"}}
	var b bytes.Buffer
	if err := Show(plain(&b), d, environments, at(69_000)); err != nil {
		t.Fatal(err)
	}
	golden(t, "show.txt", b.String())
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	d := sample()
	d.Stages[0].State, d.State = "superseded", "superseded"
	if err := Table(plain(&b), Header(), [][]string{Row(sample(), at(61_000)), Row(d, at(7_200_000))}); err != nil {
		t.Fatal(err)
	}
	golden(t, "table.txt", b.String())
}

func TestTrace(t *testing.T) {
	span := func(name string, from, to int, children ...*delivery.Span) *delivery.Span {
		return &delivery.Span{Span: telemetry.Span{TraceID: strings.Repeat("a", 32), Name: name, Service: "millrace-" + name, Start: at(from), End: at(to)}, Children: children}
	}
	step := span("step unit", 300, 2700)
	step.Error = "exit code 1\nand more"
	root := span("RUN shop", 0, 10_000, span("test", 250, 2750, span("queued", 0, 250), step), span("deploy production", 9_000, 10_500))
	var b bytes.Buffer
	if err := Trace(plain(&b), root); err != nil {
		t.Fatal(err)
	}
	golden(t, "trace.txt", b.String())
}

func TestStream(t *testing.T) {
	var b bytes.Buffer
	d := sample()
	Stream{&b}.Change(d, delivery.Change{Kind: delivery.Accepted, Time: at(0)})
	Stream{&b}.Change(d, delivery.Change{Kind: delivery.StepFinished, Time: at(2000), Stage: d.Stages[0], Step: d.Stages[0].Steps[0]})
	golden(t, "stream.jsonl", b.String())
}

func TestPlain(t *testing.T) {
	var b bytes.Buffer
	d := sample()
	s := d.Stages[1]
	s.Waiting, s.Reason = "the lock of production", "no route to host"
	for _, kind := range []delivery.ChangeKind{delivery.Accepted, delivery.StageStarted, delivery.StageWaiting, delivery.StageRetrying, delivery.StepStarted, delivery.StepFinished, delivery.StageEnded} {
		Plain{plain(&b)}.Change(d, delivery.Change{Kind: kind, Time: at(9000), Stage: s, Step: d.Stages[0].Steps[0]})
	}
	golden(t, "plain.txt", b.String())
}

// TestClean shows what others wrote in every form: nothing of it reaches the terminal
// as a command, or breaks a line.
func TestClean(t *testing.T) {
	d := hostile()
	e := bus.Environment{App: d.App, Name: d.App, Current: bus.Running{Number: 12, Image: d.App, URL: d.App}}
	span := &delivery.Span{Span: telemetry.Span{Name: d.App, Error: d.App, TraceID: "t", Start: at(0), End: at(1)}}
	var out bytes.Buffer
	w := plain(&out)
	_ = Show(w, d, []bus.Environment{e}, at(9000))
	_ = Trace(w, span)
	_ = Table(w, Header(), [][]string{Row(d, at(9000))})
	Tail(w, d, d.Stages[1], d.App, nil, 0)
	Tail(w, d, d.Stages[1], d.App, []string{"x"}, 1)
	for _, kind := range []delivery.ChangeKind{delivery.Accepted, delivery.StageStarted, delivery.StageWaiting, delivery.StageRetrying, delivery.StepStarted, delivery.StepFinished, delivery.StageEnded} {
		Plain{w}.Change(d, delivery.Change{Kind: kind, Time: at(9000), Stage: d.Stages[1], Step: d.Stages[1].Steps[0]})
	}
	for line := range strings.SplitSeq(out.String(), "\n") {
		if strings.ContainsAny(line, "\x1b\a\u202e") || strings.HasPrefix(line, "line") {
			t.Errorf("%q", line)
		}
	}
	Reason(w, d.Stages[1]) // has lines of its own
	Cases(w, d.Stages[1], d.Stages[1].Steps[0])
	if strings.ContainsAny(out.String(), "\x1b\a\u202e") {
		t.Errorf("%q", out.String())
	}
}

func TestLogs(t *testing.T) {
	tests := []struct {
		name             string
		prefixed, colour bool
		chunks           []delivery.Chunk
		want             string
	}{
		{"cut lines", true, false, []delivery.Chunk{chunk("a", "on"), chunk("b", "tw"), chunk("a", "e\n"), chunk("b", "o\n")}, "test/a │ one\ntest/b │ two\n"},
		{"no newline at the end", true, false, []delivery.Chunk{chunk("a", "one"), end("a", "failure", 3)}, "test/a │ one\ntest/a │ ends: failure\n"},
		{"one step", false, false, []delivery.Chunk{chunk("a", "one\n"), end("a", "success", 4)}, "one\n"},
		{"not all kept", false, false, []delivery.Chunk{chunk("a", "one\n"), end("a", "truncated", 20_000_000)}, "one\n… the rest of 20.0 MB was not kept\n"},
		{"never ended", false, false, []delivery.Chunk{chunk("a", "one")}, "one\n"},
		{"sequence cut in two", false, false, []delivery.Chunk{chunk("a", "one\x1b]0;ti"), chunk("a", "tle\a two\n")}, "one two\n"},
		{"colours end with the line", false, true, []delivery.Chunk{chunk("a", "\x1b[31mred\nplain\n")}, "\x1b[31mred\x1b[m\nplain\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			w := plain(&b)
			if tt.colour {
				w = coloured(&b)
			}
			l := &Logs{W: w, Prefixed: tt.prefixed}
			for _, c := range tt.chunks {
				if err := l.Chunk(c); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.Flush(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, b.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func chunk(step, text string) delivery.Chunk {
	return delivery.Chunk{Stage: "test", Step: step, Attempt: 1, Try: 1, Data: []byte(text)}
}

func end(step, how string, bytes int64) delivery.Chunk {
	return delivery.Chunk{Stage: "test", Step: step, Attempt: 1, Try: 1, End: how, Bytes: bytes}
}

func TestWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-1: "0ms", 42 * time.Millisecond: "42ms", 1234 * time.Millisecond: "1.2s", 59960 * time.Millisecond: "1m00s",
		184 * time.Second: "3m04s", 125 * time.Minute: "2h05m", 72 * time.Hour: "3d",
	} {
		if got := Duration(d); got != want {
			t.Errorf("%d: got %s, want %s", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 999_960: "1.0 MB", 5_400_000_000: "5.4 GB"} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
	for s, want := range map[string]string{"unit": "unit", "unit[go=1.26]": "'unit[go=1.26]'", "it's": `'it'\''s'`, "": "''"} {
		if got := Quote(s); got != want {
			t.Errorf("%q: got %s, want %s", s, got, want)
		}
	}
}

// TestLiveModel drives the model of the live view without a terminal.
func TestLiveModel(t *testing.T) {
	interrupted := 0
	var m tea.Model = board{last: map[string]string{}, interrupted: func() { interrupted++ }, now: at(10_000)}
	for _, msg := range []tea.Msg{
		tea.WindowSizeMsg{Width: 50},
		changed(sample()),
		printed{"build", "build", "go: compiling"},
		tick(at(11_000)),
		tea.KeyPressMsg{Code: 'c', Mod: tea.ModCtrl},
		tea.KeyPressMsg{Code: 'x'},
	} {
		m, _ = m.Update(msg)
	}
	if interrupted != 1 {
		t.Errorf("interrupted %d times, want once", interrupted)
	}
	var b bytes.Buffer
	_, _ = plain(&b).WriteString(m.View().Content)
	golden(t, "live.txt", b.String())
}

func TestLastLine(t *testing.T) {
	for in, want := range map[string]string{"a\nb\n\n": "b", "10%\r20%\r": "20%", "\x1b[2K\n": "", "a\n\x1b[31m\x1b[0m\n": "a"} {
		if got := lastLine(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-update writes it): %s", name, diff)
	}
}

// plain is a writer without a terminal behind it, coloured one with.
func plain(b *bytes.Buffer) *colorprofile.Writer { return colorprofile.NewWriter(b, nil) }

func coloured(b *bytes.Buffer) *colorprofile.Writer {
	return colorprofile.NewWriter(b, []string{"CLICOLOR_FORCE=1", "TERM=xterm-256color"})
}
