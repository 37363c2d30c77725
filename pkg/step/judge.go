package step

import (
	"context"
	"errors"
	"fmt"

	"github.com/millrace-cd/millrace/pkg/archive"
	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/event"
)

// verdict is what a run of a step came to.
type verdict struct {
	reason   string // why it failed; "" for success
	exit     int
	tests    *event.Tests
	coverage *event.Coverage
	reports  *event.Blob
}

// on is s with the verdict.
func (v verdict) on(s event.Step) event.Step {
	s.ExitCode, s.Tests, s.Coverage, s.Reports = v.exit, v.tests, v.coverage, v.reports
	return s
}

// judge says what an exit means, with what the step left in its files. The error is
// ours.
func (t *try) judge(ctx context.Context, exit container.Exit) (verdict, error) {
	v := verdict{exit: exit.Code}
	s := t.o.spec
	switch {
	case exit.TimedOut:
		v.reason = fmt.Sprintf("stopped after its timeout of %s", s.Timeout)
	case exit.OOM:
		v.reason = fmt.Sprintf("killed: it used more memory than its limit of %s", memory(s.Resources.Memory))
	case exit.Code != 0:
		v.reason = fmt.Sprintf("exited with %d", exit.Code)
	}
	if err := t.readTests(ctx, &v); err != nil {
		return v, err
	}
	if err := t.readCoverage(&v); err != nil {
		return v, err
	}
	if err := t.keepReports(ctx, &v); err != nil {
		return v, err
	}
	if v.reason != "" || t.w.Done == nil {
		return v, nil
	}
	theirs, ours := t.w.Done(ctx, t.o.name, t.view)
	if theirs != nil {
		v.reason = theirs.Error()
	}
	return v, ours
}

func memory(bytes int64) string {
	if bytes == 0 {
		bytes = container.DefaultMemory
	}
	return fmt.Sprintf("%d MiB", bytes>>20)
}

// files lists what globs match in the step's files. Without a match, or where what
// matches is not to be had, the step is to blame, unless it failed anyway.
func (t *try) files(v *verdict, what string, globs ...string) ([]archive.Entry, error) {
	entries, err := t.view.Files(globs, archive.Artifact())
	if errors.Is(err, archive.ErrRefused) {
		v.fail("%s: %v", what, err)
		return nil, nil
	}
	return entries, err
}

// fail gives the verdict a reason, unless it has one.
func (v *verdict) fail(format string, args ...any) {
	if v.reason == "" {
		v.reason = fmt.Sprintf(format, args...)
	}
}
