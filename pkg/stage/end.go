package stage

import (
	"errors"
	"fmt"

	"github.com/millrace-cd/millrace/pkg/event"
)

// ended is an error that ends the delivery with an outcome.
type ended struct {
	outcome event.Outcome
	error
}

// Unwrap gives the reason's own chain.
func (e ended) Unwrap() error { return e.error }

// Fail says that the commit is at fault: a red test, a missing file.
func Fail(format string, args ...any) error {
	return ended{event.Failed, fmt.Errorf(format, args...)}
}

// Refuse says that the event is invalid or the chain of custody broken.
func Refuse(format string, args ...any) error {
	return ended{event.Refused, fmt.Errorf(format, args...)}
}

// Supersede says that a newer delivery came first.
func Supersede(format string, args ...any) error {
	return ended{event.Superseded, fmt.Errorf(format, args...)}
}

// Outcome is the one that err ends a delivery with; false where trying again may
// help.
func Outcome(err error) (event.Outcome, bool) {
	if err == nil {
		return event.Succeeded, true
	}
	if e, ok := errors.AsType[ended](err); ok {
		return e.outcome, true
	}
	return "", false
}
