package releaser

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/snapshot"
	"github.com/millrace-cd/millrace/pkg/stage"
	"github.com/millrace-cd/millrace/pkg/telemetry"
)

// work is something that runs to make an image. Out gets its output, env is for its
// processes. It gives the exit code, and why it failed; "" if it did not.
type work func(ctx context.Context, out io.Writer, env map[string]string) (exit int, reason string, err error)

// record runs do as a step of the delivery: its output is stored as it comes, people can
// watch it, and it is a span of the trace. That it fails is the commit's fault, with the
// end of its output for a reason. From is the image that it begins with.
func (m *making) record(ctx context.Context, name, from string, do work) error {
	began, span := time.Now(), telemetry.Plan(ctx)
	s := event.Step{Name: name}
	m.note(event.StepStarted, s)
	log := m.kit.Bus.Log(ctx, bus.LogKey{
		Stage: event.StageRelease, App: m.built.App, Number: m.built.Number, Step: name, Attempt: m.owner.Attempt, Try: 1,
	}, nil)
	last := &tail{}
	exit, reason, err := do(ctx, io.MultiWriter(log, last), m.env(span))
	s.Result, s.ExitCode, s.Seconds = event.ResultSuccess, exit, time.Since(began).Round(time.Millisecond).Seconds()
	switch {
	case err != nil:
		s.Result, s.Reason = event.ResultError, err.Error()
	case reason != "":
		s.Result, s.Reason = event.ResultFailure, reason+last.String()
	}
	err = errors.Join(err, log.Close(s.Result))
	telemetry.EmitPlanned(ctx, m.kit.Tracer, span, "step "+name, began, s.Reason,
		semconv.CICDPipelineTaskName(name), semconv.CICDPipelineTaskRunResultKey.String(s.Result),
		semconv.ContainerImageName(from), semconv.ProcessExitCode(exit), attribute.Int64("millrace.delivery", int64(m.built.Number))) //nolint:gosec // numbers of deliveries are small
	m.note(event.StepFinished, s)
	m.out.steps = append(m.out.steps, s)
	if err == nil && s.Reason != "" {
		err = stage.Fail("release.%s: %s", name, s.Reason)
	}
	return err
}

func (m *making) note(what string, s event.Step) {
	m.kit.Bus.Note(event.Progress{
		App: m.built.App, Number: m.built.Number, StageName: event.StageRelease, What: what, Attempt: m.owner.Attempt, Worker: m.kit.Worker, Step: s,
	})
}

// env is what processes find in their environment: what scripts get everywhere, and the
// time for programs that write one.
func (m *making) env(span trace.SpanContext) map[string]string {
	env := snapshot.Vars(m.built.Commit).Env()
	env["TRACEPARENT"] = telemetry.Format(span)
	env[epoch] = strconv.FormatInt(m.built.Time.Unix(), 10)
	return env
}

// epoch names the variable by which programs are told the time to write.
const epoch = "SOURCE_DATE_EPOCH"

// failure tells why an exit is none of success; "" where it is.
func failure(e container.Exit, timeout time.Duration) string {
	switch {
	case e.TimedOut:
		return fmt.Sprintf("stopped after %s", timeout)
	case e.OOM:
		return fmt.Sprintf("killed: it used more memory than the limit of %d MiB", container.DefaultMemory>>20)
	case e.Code != 0:
		return fmt.Sprintf("exited with %d", e.Code)
	}
	return ""
}

const (
	tailLines = 20
	tailBytes = 2 << 10
	lineBytes = 300
)

// tail keeps the end of what is written to it, and the last command that a shell with -x
// told before it ran it.
type tail struct {
	command string
	lines   []string
	begun   bytes.Buffer // of a line
}

func (t *tail) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		line, after, whole := bytes.Cut(rest, []byte("\n"))
		_, _ = t.begun.Write(line[:min(len(line), max(0, lineBytes-t.begun.Len()))]) // never fails
		if rest = after; whole {
			t.end()
		}
	}
	return len(p), nil
}

// end ends a line.
func (t *tail) end() {
	line := strings.TrimRight(strings.ToValidUTF8(t.begun.String(), ""), " \r\t")
	t.begun.Reset()
	if command, is := strings.CutPrefix(line, "+ "); is {
		t.command = command
	}
	if line == "" {
		return
	}
	t.lines = append(t.lines, line)
	t.lines = t.lines[max(0, len(t.lines)-tailLines):]
}

// String tells the last lines, or nothing where there are none.
func (t *tail) String() string {
	t.end()
	text := strings.Join(t.lines, "\n  ")
	if text == "" {
		return ""
	}
	return "\nits last lines:\n  " + strings.ToValidUTF8(text[max(0, len(text)-tailBytes):], "")
}
