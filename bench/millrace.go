package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/event"
)

// millrace is a whole Millrace in a process of its own, as "millrace up" runs it.
type millrace struct {
	dir      string
	registry string
	cmd      *exec.Cmd
	log      *os.File
	nc       *nats.Conn
	bus      *bus.Bus
}

// startMillrace runs the binary with these settings in its environment.
func startMillrace(ctx context.Context, binary, instance string, settings ...string) (*millrace, error) {
	dir, err := os.MkdirTemp("", "millrace-bench-*")
	if err != nil {
		return nil, err
	}
	m := &millrace{dir: dir}
	if err := m.start(ctx, binary, instance, settings); err != nil {
		return nil, errors.Join(err, m.stop())
	}
	return m, nil
}

func (m *millrace) start(ctx context.Context, binary, instance string, settings []string) error {
	natsPort, registryPort, err := freePorts()
	if err != nil {
		return err
	}
	m.registry = "127.0.0.1:" + registryPort
	if m.log, err = os.Create(filepath.Join(m.dir, "log")); err != nil {
		return err
	}
	m.cmd = exec.Command(binary, "up", "--data", filepath.Join(m.dir, "data"), "--nats-port", natsPort, "--registry-port", registryPort, "--instance", instance, "--purge")
	m.cmd.Env = append(m.cmd.Environ(), settings...)
	m.cmd.Stdout, m.cmd.Stderr = m.log, m.log
	if err := m.cmd.Start(); err != nil {
		return err
	}
	return m.connect(ctx, "nats://127.0.0.1:"+natsPort)
}

// connect waits until the streams are there.
func (m *millrace) connect(ctx context.Context, url string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for last := time.Now().Add(60 * time.Second); ; {
		err := m.try(ctx, url)
		if err == nil {
			return nil
		}
		if time.Now().After(last) {
			return fmt.Errorf("%w\n%s", err, m.tail())
		}
		<-tick.C
	}
}

func (m *millrace) try(ctx context.Context, url string) (err error) {
	if m.nc == nil {
		if m.nc, err = bus.Dial(url, "bench", ""); err != nil {
			return err
		}
		if m.bus, err = bus.Open(m.nc); err != nil {
			return err
		}
	}
	return m.bus.Ready(ctx)
}

// deliver delivers the commit and returns how long it took to be healthy.
func (m *millrace) deliver(ctx context.Context, repo repository, commit string) (time.Duration, error) {
	begin := time.Now()
	facts, err := m.facts(ctx, repo, commit)
	if err != nil {
		return 0, err
	}
	took := time.Since(begin)
	if last := facts[len(facts)-1]; last.Outcome != event.Succeeded {
		return 0, fmt.Errorf("the delivery ended as %s at %s: %s", last.Outcome, last.StageName, last.Reason)
	}
	return took, nil
}

// stop ends the process and removes its data.
func (m *millrace) stop() error {
	if m.nc != nil {
		m.nc.Close()
	}
	var err error
	if m.cmd != nil && m.cmd.Process != nil {
		_ = m.cmd.Process.Signal(syscall.SIGTERM)
		if err = m.cmd.Wait(); err != nil {
			err = fmt.Errorf("millrace up: %w\n%s", err, m.tail())
		}
	}
	if m.log != nil {
		_ = m.log.Close()
	}
	return errors.Join(err, os.RemoveAll(m.dir))
}

// tail is the end of the process's log.
func (m *millrace) tail() string {
	f, err := os.Open(m.log.Name())
	if err != nil {
		return err.Error()
	}
	defer func() { _ = f.Close() }()
	text, _ := io.ReadAll(f)
	return strings.TrimSpace(string(text[max(0, len(text)-4000):]))
}

// freePorts are two that nobody listens on.
func freePorts() (a, b string, err error) {
	first, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer func() { _ = first.Close() }()
	second, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer func() { _ = second.Close() }()
	_, a, _ = net.SplitHostPort(first.Addr().String())
	_, b, _ = net.SplitHostPort(second.Addr().String())
	return a, b, nil
}
