package cli

import (
	"context"
	"errors"
	"os"

	"github.com/nats-io/nats.go"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/pipeline"
)

// Exit codes.
const (
	OK          = 0
	Failed      = 1   // the delivery failed
	Usage       = 2   // wrong arguments or an invalid file
	System      = 3   // our system or the connection to it failed
	Denied      = 4   // not permitted
	NotFound    = 5   // there is no such thing
	Cancelled   = 6   // somebody cancelled it, or a newer delivery came first
	GaveUp      = 124 // waited long enough
	Interrupted = 130 // by Ctrl-C
)

// problem is an error with an exit code and the way out. One without err has been
// told already.
type problem struct {
	err  error
	code int
	hint string
}

// Error implements error.
func (p problem) Error() string {
	if p.err == nil {
		return ""
	}
	return p.err.Error()
}

// Unwrap gives the error's own chain.
func (p problem) Unwrap() error { return p.err }

func usage(err error, hint string) error {
	if errors.As(err, new(problem)) {
		return err
	}
	return problem{err, Usage, hint}
}

// quiet ends with a code, all being said.
func quiet(code int) error {
	if code == OK {
		return nil
	}
	return problem{code: code}
}

// explain finds the exit code of an error, and a hint where one helps.
func explain(err error) problem {
	if p, ok := errors.AsType[problem](err); ok {
		return p
	}
	switch {
	case errors.As(err, new(pipeline.Problems)):
		return problem{err, Usage, ""}
	case errors.Is(err, bus.ErrNotFound):
		return problem{err, NotFound, "millrace ls tells which deliveries there are"}
	case errors.Is(err, bus.ErrNotProvisioned):
		return problem{err, System, ""} // says what to do
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrPermissionViolation):
		return problem{err, Denied, "--creds FILE or MILLRACE_NATS_CREDS says who you are"}
	case errors.Is(err, nats.ErrNoServers), errors.Is(err, nats.ErrTimeout):
		return problem{err, System, "start one with: millrace up; or say where it is: --nats URL or MILLRACE_NATS_URL"}
	case errors.Is(err, os.ErrPermission):
		return problem{err, Denied, ""}
	case errors.Is(err, context.Canceled):
		return problem{errors.New("interrupted"), Interrupted, ""}
	case errors.Is(err, context.DeadlineExceeded):
		return problem{err, GaveUp, ""}
	}
	return problem{err, System, ""}
}
