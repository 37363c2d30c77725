// Package bustest runs real NATS servers inside the test process.
package bustest

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/millrace-cd/millrace/pkg/bus"
)

// New returns a bus on a private server with all streams, which dies with the test.
func New(t testing.TB) *bus.Bus {
	t.Helper()
	b := Connect(t, Server(t))
	Provision(t, b, Settings())
	return b
}

// Provision makes the streams as soon as a young cluster knows its members.
func Provision(t testing.TB, b *bus.Bus, s bus.Settings) {
	t.Helper()
	var err error
	await(t, "streams", func() bool {
		err = b.Provision(t.Context(), s)
		return err == nil || s.Replicas < 2
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Settings are small enough for a server that lives in a test, and notice a dead
// worker in two seconds.
func Settings() bus.Settings {
	return bus.Settings{Facts: 64 << 20, Progress: 64 << 20, Logs: 256 << 20, AckWait: 2 * time.Second}
}

// Server starts one server that listens on loopback and stores into a directory of
// the test.
func Server(t testing.TB) *server.Server {
	t.Helper()
	s := start(t, &server.Options{ServerName: "one", Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), SyncAlways: true, NoSigs: true, NoLog: true})
	ready(t, s)
	return s
}

// Cluster starts three servers that keep three copies of each stream.
func Cluster(t testing.TB) []*server.Server {
	t.Helper()
	ports := freePorts(t, 3)
	routes := make([]string, 0, len(ports))
	for _, p := range ports {
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", p))
	}
	var all []*server.Server
	for i, p := range ports {
		all = append(all, start(t, &server.Options{
			ServerName: fmt.Sprintf("n%d", i), Host: "127.0.0.1", Port: server.RANDOM_PORT,
			JetStream: true, StoreDir: t.TempDir(), SyncAlways: true, NoSigs: true, NoLog: true,
			Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: p},
			Routes:  server.RoutesFromStr(strings.Join(routes, ",")),
		}))
	}
	for _, s := range all {
		ready(t, s)
		await(t, "a current member", s.JetStreamIsCurrent)
	}
	return all
}

func freePorts(t testing.TB, n int) (ports []int) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }() // all at the end, so that they differ
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// Connect opens a bus with a connection of its own, closed with the test.
func Connect(t testing.TB, s *server.Server) *bus.Bus {
	t.Helper()
	nc := Dial(t, s)
	b, err := bus.Open(nc)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Dial opens a bare connection, closed with the test.
func Dial(t testing.TB, s *server.Server) *nats.Conn {
	t.Helper()
	nc, err := bus.Dial(s.ClientURL(), t.Name(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func start(t testing.TB, opts *server.Options) *server.Server {
	t.Helper()
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s
}

func ready(t testing.TB, s *server.Server) {
	t.Helper()
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("nats server is not ready")
	}
}

func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("waited 30 s for %s", what)
		}
	}
}
