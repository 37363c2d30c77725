package embedded

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// startNATS runs a server with file storage that never acknowledges what a power
// cut could take back.
func (e *Embedded) startNATS(o Options) (dialer, error) {
	dir, err := mkdir(o, "nats")
	if err != nil {
		return nil, err
	}
	opts := &server.Options{ServerName: "millrace", JetStream: true, StoreDir: dir, SyncAlways: true, NoSigs: true, NoLog: true, DontListen: true}
	if o.NATSAddr != "" {
		host, port, err := net.SplitHostPort(o.NATSAddr)
		if err != nil {
			return nil, fmt.Errorf("NATS address: %w", err)
		}
		opts.DontListen, opts.Host = false, host
		if opts.Port, err = strconv.Atoi(port); err != nil {
			return nil, fmt.Errorf("NATS address %s: %w", o.NATSAddr, err)
		}
		if err := free(o.NATSAddr); err != nil {
			return nil, fmt.Errorf("NATS: %w", err)
		}
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("embedded NATS: %w", err)
	}
	s.Start()
	e.closers = append(e.closers, func(context.Context) error { s.Shutdown(); s.WaitForShutdown(); return nil })
	if !s.ReadyForConnections(20 * time.Second) {
		return nil, fmt.Errorf("embedded NATS did not start within 20 s: is %s writable?", dir)
	}
	if !opts.DontListen {
		e.NATSURL = s.ClientURL()
	}
	return func(name string) (*nats.Conn, error) {
		nc, err := nats.Connect("", nats.InProcessServer(s), nats.Name(name), nats.MaxReconnects(-1))
		if err != nil {
			return nil, fmt.Errorf("connect to embedded NATS: %w", err)
		}
		e.closers = append(e.closers, func(context.Context) error { nc.Close(); return nil })
		return nc, nil
	}, nil
}

// free says early that somebody else listens there: the server itself would only
// log it.
func free(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("address %s: %w", addr, err)
	}
	return l.Close()
}
