package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// passing tells whether an error may be gone in a moment: a registry that is busy
// or restarts, a connection that drops.
func passing(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	if status, ok := errors.AsType[*transport.Error](err); ok {
		return status.Temporary()
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return true
	}
	for _, known := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.EPIPE, syscall.ECONNRESET, syscall.ECONNREFUSED} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// explain makes out of what the client says an error that callers can tell apart.
func explain(err error) error {
	if err == nil {
		return nil
	}
	if status, ok := errors.AsType[*transport.Error](err); ok && status.StatusCode == http.StatusNotFound {
		return fmt.Errorf("%w: %w", ErrMissing, err)
	}
	// The client has no types for these; the tests see to it that the words are right.
	for _, words := range []string{"does not match requested digest", "error verifying"} {
		if strings.Contains(err.Error(), words) {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
	}
	return err
}
