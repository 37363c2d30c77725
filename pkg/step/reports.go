package step

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/millrace-cd/millrace/pkg/archive"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/report"
	"github.com/millrace-cd/millrace/pkg/store"
	"github.com/millrace-cd/millrace/pkg/telemetry"
)

// How much of reports goes into the event, which is small.
const (
	maxFailures = 20
	maxMessage  = 500 // bytes of each
	slowCase    = 5 * time.Second
)

// readTests reads the reports of tests. They can turn a verdict both ways: a report of
// failed tests is a failure whatever the exit code, and where all that failed is in
// quarantine it is none.
func (t *try) readTests(ctx context.Context, v *verdict) error {
	s := t.o.spec
	if s.Reports.JUnit == "" {
		return nil
	}
	entries, err := t.files(v, "reports.junit", s.Reports.JUnit)
	if err != nil {
		return err
	}
	var suites []report.Suite
	for _, e := range entries {
		more, err := readSuites(e)
		if err != nil {
			v.fail("reports.junit: %v", err)
		}
		suites = append(suites, more...)
	}
	if len(suites) == 0 {
		return nil
	}
	t.spans(ctx, suites)
	fatal, quarantined := report.Quarantine(suites, s.Quarantine)
	v.tests = sum(suites, fatal, quarantined)
	switch {
	case len(fatal) > 0:
		v.reason = failed(v.tests, fatal[0])
	case len(quarantined) > 0 && v.exit != 0:
		v.reason = "" // what failed does not count
	}
	return nil
}

func readSuites(e archive.Entry) (suites []report.Suite, err error) {
	r, err := e.Open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return report.Read(e.Path, r, report.Limits{Message: maxMessage})
}

// sum counts, and keeps the first failures.
func sum(suites []report.Suite, fatal, quarantined []report.Case) *event.Tests {
	t := &event.Tests{Failed: len(fatal), Quarantined: len(quarantined)}
	for _, s := range suites {
		t.Passed, t.Skipped, t.Seconds = t.Passed+s.Passed, t.Skipped+s.Skipped, t.Seconds+s.Seconds
	}
	for i, c := range append(slices.Clip(fatal), quarantined...) {
		if len(t.Failures) == maxFailures {
			break
		}
		t.Failures = append(t.Failures, event.Case{Name: fullName(c), Message: c.Message, File: c.File, Line: c.Line, Quarantined: i >= len(fatal)})
	}
	return t
}

func fullName(c report.Case) string {
	if c.Class == "" || strings.HasPrefix(c.Name, c.Class) {
		return c.Name
	}
	return c.Class + "." + c.Name
}

// failed is the sentence that says which tests failed.
func failed(t *event.Tests, first report.Case) string {
	text := fmt.Sprintf("%d of %d tests failed: %s", t.Failed, t.Passed+t.Failed+t.Quarantined, fullName(first))
	if first.File != "" {
		text += fmt.Sprintf(" (%s:%d)", first.File, first.Line)
	}
	if line, _, _ := strings.Cut(strings.TrimSpace(first.Message), "\n"); line != "" {
		text += ": " + line
	}
	return text
}

// spans puts the suites, and of their cases the failed and the slow ones, below the
// step's span. Reports tell how long and not when, so they stand one after another.
func (t *try) spans(ctx context.Context, suites []report.Suite) {
	ctx = trace.ContextWithSpanContext(ctx, t.span)
	at := t.o.began
	for _, s := range suites {
		end := at.Add(seconds(s.Seconds))
		inner, span := t.w.Tracer.Start(ctx, "suite "+s.Name, trace.WithTimestamp(at), trace.WithAttributes(
			semconv.TestSuiteName(s.Name), attribute.Int("millrace.test.passed", s.Passed), attribute.Int("millrace.test.failed", s.Failed), attribute.Int("millrace.test.skipped", s.Skipped)))
		for _, c := range s.Cases {
			if bad := c.Result == event.ResultFailure || c.Result == event.ResultError; bad || seconds(c.Seconds) > slowCase {
				_, one := t.w.Tracer.Start(inner, "case "+c.Name, trace.WithTimestamp(at), trace.WithAttributes(semconv.TestCaseName(fullName(c)), telemetry.CaseStatus(!bad)))
				if bad {
					one.SetStatus(codes.Error, c.Message)
				}
				one.End(trace.WithTimestamp(at.Add(seconds(c.Seconds))))
			}
		}
		span.End(trace.WithTimestamp(end))
		at = end
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// readCoverage holds the coverage against its gate.
func (t *try) readCoverage(v *verdict) error {
	want := t.o.spec.Reports.Coverage
	if want.File == "" {
		return nil
	}
	entries, err := t.files(v, "reports.coverage", want.File)
	if err != nil || len(entries) == 0 {
		return err
	}
	r, err := entries[0].Open()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	percent, covered, total, err := report.Coverage(entries[0].Path, r)
	if err != nil {
		v.fail("reports.coverage: %v", err)
		return nil
	}
	v.coverage = &event.Coverage{Percent: percent, Wanted: want.Min}
	if percent < want.Min {
		down := math.Floor(10*percent) / 10 // what is not there must not look as if it was
		v.fail("coverage is %.1f %% (%d of %d), wanted at least %g %%", down, covered, total, want.Min)
	}
	return nil
}

// keepReports stores the files that the step wants kept, also of a failed one.
func (t *try) keepReports(ctx context.Context, v *verdict) error {
	globs := t.o.spec.Reports.Files
	if len(globs) == 0 {
		return nil
	}
	entries, err := t.files(v, "reports.files", globs...)
	if err != nil || len(entries) == 0 {
		return err
	}
	tar, err := archive.Spool(t.w.TempDir, func(w io.Writer) (archive.Stats, error) {
		files, err := archive.Pack(w, entries, archive.Artifact())
		return archive.Count(files), err
	})
	if errors.Is(err, archive.ErrRefused) {
		v.fail("reports.files: %v", err)
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = tar.Remove() }()
	blob, err := t.w.Store.Put(ctx, store.Upload{App: t.w.Owner.App, Kind: store.Report, Tar: tar})
	v.reports = &blob
	return err
}
