package step

import (
	"unicode/utf8"

	"github.com/millrace-cd/millrace/pkg/event"
)

// What the steps of a stage may say in an event, which is small: all of it together,
// and the least that each may say of why it failed.
const (
	maxSaid   = 40 << 10 // bytes
	perStep   = 230      // bytes of a step besides
	leastSaid = 40       // bytes
)

// fit cuts what results say so that the event can hold it, the later ones more than
// the earlier. Logs have all of it.
func fit(results []event.Step) []event.Step {
	left := max(0, maxSaid-perStep*len(results))
	for i := range results {
		s := &results[i]
		s.Reason = cut(s.Reason, max(leastSaid, min(left, 2<<10)))
		left -= len(s.Reason)
		if s.Tests == nil {
			continue
		}
		tests := *s.Tests // may be somebody else's
		tests.Failures = nil
		for _, f := range s.Tests.Failures {
			if left -= len(f.Name) + len(f.Message) + len(f.File) + 50; left > 0 {
				tests.Failures = append(tests.Failures, f)
			}
		}
		s.Tests = &tests
	}
	return results
}

// cut keeps the beginning and the end of a text.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	head, tail := n/2, len(s)-n/2
	for head > 0 && !utf8.RuneStart(s[head]) {
		head--
	}
	for tail < len(s) && !utf8.RuneStart(s[tail]) {
		tail++
	}
	return s[:head] + " … " + s[tail:]
}
