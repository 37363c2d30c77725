// Package bus is the only owner of NATS: it knows the streams, their subjects, and
// how to publish and read them.
//
// Two streams hold facts, which are never dropped and never change; one holds
// observations, one logs. The promise is made by the server, not by its clients: a
// stage of a delivery gets one result, whoever publishes, however often.
//
//	COMMITS     commit.<app>, rollback.<app>                          sequence = number of the delivery
//	DELIVERIES  delivery.<stage>.<outcome>.<app>.<number>[.<env>]     written once
//	PROGRESS    progress.<stage>.<what>.<app>.<number>
//	LOGS        log.<stage>.<app>.<number>.<step>
//
// Services only bind to what [Bus.Provision] made. Servers must run with
// sync_interval: always, or a power cut loses acknowledged events.
package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Names of the streams.
const (
	Commits    = "COMMITS"
	Deliveries = "DELIVERIES"
	Progress   = "PROGRESS"
	Logs       = "LOGS"
)

// Bus is a connection to the streams. It is safe for concurrent use.
type Bus struct {
	nc *nats.Conn
	js jetstream.JetStream
}

// Open uses nc, which stays the caller's to close.
func Open(nc *nats.Conn) (*Bus, error) {
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(10*time.Second))
	if err != nil {
		return nil, fmt.Errorf("jetstream: %w", err)
	}
	return &Bus{nc: nc, js: js}, nil
}

// Dial connects to a server, for good: it reconnects for as long as it takes.
func Dial(url, name, creds string) (*nats.Conn, error) {
	opts := []nats.Option{
		nats.Name(name),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.Timeout(5 * time.Second),
	}
	if creds != "" {
		opts = append(opts, nats.UserCredentials(creds))
	}
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		return nil, fmt.Errorf("reach NATS at %s: %w", redacted(url), err)
	}
	return nc, nil
}

// ErrNotProvisioned says that the server lacks a stream or consumer.
var ErrNotProvisioned = errors.New("the streams are not there")

// Ready tells whether the server answers and holds the streams.
func (b *Bus) Ready(ctx context.Context) error {
	if !b.nc.IsConnected() {
		return fmt.Errorf("NATS is not connected: %s", b.nc.Status())
	}
	for _, name := range []string{Commits, Deliveries, Progress, Logs} {
		if _, err := b.js.Stream(ctx, name); err != nil {
			return notProvisioned(name, err)
		}
	}
	return nil
}

// notProvisioned turns the server's errors into ones that name the next step.
func notProvisioned(what string, err error) error {
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrConsumerNotFound):
		return fmt.Errorf("%s: %w: run millrace provision", what, ErrNotProvisioned)
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrJetStreamNotEnabled):
		return fmt.Errorf("%s: this NATS server runs without JetStream: start it with -js: %w", what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// redacted is url without its user and password.
func redacted(url string) string {
	for i := len(url) - 1; i >= 0; i-- {
		if url[i] == '@' {
			return "…" + url[i:]
		}
	}
	return url
}
