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

// classify gives errors of the client their kind.
func classify(err error) error {
	if err == nil || errors.Is(err, ErrMissing) || errors.Is(err, ErrCorrupt) {
		return err
	}
	if status, ok := errors.AsType[*transport.Error](err); ok && status.StatusCode == http.StatusNotFound {
		return fmt.Errorf("%w: %w", ErrMissing, err)
	}
	// The client has no types for these; the tests see to it that the words are right.
	for _, words := range []string{"does not match requested digest", "error verifying", "does not match expected size"} {
		if strings.Contains(err.Error(), words) {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
	}
	return err
}

// forbidden is what some registries say instead of "not found".
func forbidden(err error) bool {
	status, ok := errors.AsType[*transport.Error](err)
	return ok && status.StatusCode == http.StatusForbidden
}

// lost tells whether the registry misses something that a manifest refers to.
func lost(err error) bool {
	status, ok := errors.AsType[*transport.Error](err)
	if !ok || status.StatusCode != http.StatusBadRequest && status.StatusCode != http.StatusNotFound {
		return false
	}
	for _, d := range status.Errors {
		switch d.Code {
		case transport.ManifestBlobUnknownErrorCode, transport.BlobUnknownErrorCode, transport.ManifestInvalidErrorCode, transport.ManifestUnknownErrorCode:
			return true
		}
	}
	return false
}
