package step

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/event"
)

// Long names of apps and steps still make a view's name, which has at most 127 characters.
func TestViewName(t *testing.T) {
	w := &work{Group: Group{Owner: container.Owner{App: strings.Repeat("a", 63), Delivery: 1 << 63}}}
	if got := w.viewName(strings.Repeat("s", 63)); len(got) > 127 || got == w.viewName(strings.Repeat("s", 63)) {
		t.Errorf("%q has %d characters, or is given twice", got, len(got))
	}
}

// However much the steps of a file have to say, the event holds it, and each failed
// step has its reason.
func TestFit(t *testing.T) {
	for _, n := range []int{1, 3, 50, 200} {
		var results []event.Step
		for i := range n {
			s := event.Step{Name: fmt.Sprintf("step-with-a-long-name[some=matrix,value=%d]", i), Result: event.ResultFailure, Reason: strings.Repeat("€", 5000), Tests: &event.Tests{Failed: 20}}
			for range maxFailures {
				s.Tests.Failures = append(s.Tests.Failures, event.Case{Name: strings.Repeat("n", 100), Message: strings.Repeat("m", maxMessage), File: "x_test.go", Line: 1})
			}
			results = append(results, s)
		}
		all := fit(results)
		if _, err := event.Encode(event.Tested{Tests: all}, event.Result{Reason: strings.Repeat("r", 4<<10)}); err != nil {
			t.Fatalf("the event does not hold %d failed steps: %v", n, err)
		}
		for _, s := range all {
			if s.Reason == "" || !utf8.ValidString(s.Reason) || s.Tests.Failed != 20 {
				t.Fatalf("%s: reason %q, tests %+v", s.Name, s.Reason, s.Tests)
			}
		}
		if n <= 50 && len(all[0].Tests.Failures) == 0 {
			t.Errorf("of %d steps even the first lost its failures", n)
		}
	}
	short := []event.Step{{Name: "a", Reason: "short"}}
	if got := fit(short)[0].Reason; got != "short" {
		t.Errorf("got %q", got)
	}
}
