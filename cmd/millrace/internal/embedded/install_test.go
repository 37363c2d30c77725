package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/service"
	"github.com/millrace-cd/millrace/pkg/standin"
	"github.com/millrace-cd/millrace/services/builder/builder"
	"github.com/millrace-cd/millrace/services/deployer/deployer"
	"github.com/millrace-cd/millrace/services/releaser/releaser"
	"github.com/millrace-cd/millrace/services/tester/tester"
)

const serviceVariable = "MILLRACE_TEST_SERVICE"

// TestMain lets the test binary be a service that tests stop and kill.
func TestMain(m *testing.M) {
	switch os.Getenv(serviceVariable) {
	case "releaser":
		service.Main("releaser", releaser.Serve)
	case "deployer":
		service.Main("deployer", deployer.Serve)
	default:
		os.Exit(m.Run())
	}
}

// installation is a Millrace whose tester and builder are in this process, while the
// others are processes of their own.
type installation struct {
	world

	registry *relay   // before its registry
	hosts    []string // of other registries
	instance string
	nc       *nats.Conn
}

// install starts all but the releaser and the deployer. Work of a killed process is given
// to the next one after ackWait.
func install(t *testing.T, ackWait time.Duration) *installation {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a Docker engine")
	}
	i := &installation{instance: fmt.Sprintf("test-%d-%d", os.Getpid(), time.Now().UnixNano()%1e6)}
	i.world = world{&Embedded{failed: make(chan error, 4)}, t, t.TempDir()}
	o := Options{Dir: i.dir, NATSAddr: "127.0.0.1:" + freePort(t), Protocols: []string{"file"}, Instance: i.instance, Concurrency: 4}.orDefault()
	i.log = o.Log
	t.Cleanup(i.remove)
	if err := i.begin(o, ackWait); err != nil {
		t.Fatal(err)
	}
	return i
}

func (i *installation) begin(o Options, ackWait time.Duration) (err error) {
	ctx := i.t.Context()
	if i.Engine, err = container.Connect(ctx, container.Config{Instance: i.instance, Warm: -1}); err != nil {
		return err
	}
	i.closers = append(i.closers, func(context.Context) error { return i.Engine.Close() })
	connect, err := i.startNATS(o)
	if err != nil {
		return err
	}
	if err := i.startRegistry(ctx, o); err != nil {
		return err
	}
	i.registry = newRelay(i.t, i.Registry)
	i.Registry = i.registry.host()
	if i.nc, err = connect("test"); err != nil {
		return err
	}
	if i.Bus, err = bus.Open(i.nc); err != nil {
		return err
	}
	if err := errors.Join(i.Bus.Provision(ctx, bus.Settings{AckWait: ackWait}), i.findKeys(&o)); err != nil {
		return err
	}
	ctx, i.Embedded.stop = context.WithCancel(context.WithoutCancel(ctx))
	return errors.Join(
		launch(ctx, i.Embedded, o, connect, "tester", tester.Serve, tester.Config{Protocols: o.Protocols}),
		launch(ctx, i.Embedded, o, connect, "builder", builder.Serve, builder.Config{}),
	)
}

// remove removes everything from the engine, whether its processes ended or were killed.
func (i *installation) remove() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var err error
	if i.Engine != nil {
		err = i.Purge(ctx)
	}
	for _, host := range i.hosts {
		refs, listErr := i.Engine.ImagesNamed(ctx, host+"/")
		err = errors.Join(err, listErr)
		for _, ref := range refs {
			err = errors.Join(err, i.Engine.RemoveImage(ctx, ref))
		}
	}
	if err := errors.Join(err, i.Close(ctx)); err != nil {
		i.t.Error(err)
	}
}

// process is a service in a process of its own.
type process struct {
	t      *testing.T
	worker string
	cmd    *exec.Cmd
	ended  chan struct{}
	err    error // once it has ended
}

// serve starts a service as a process. Variables are more of its settings, or others.
func (i *installation) serve(name, worker string, variables ...string) *process {
	i.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serviceVariable+"="+name,
		"MILLRACE_NATS_URL="+i.NATSURL, "MILLRACE_REGISTRY="+i.Registry, "MILLRACE_DATA_DIR="+filepath.Join(i.dir, "data"),
		"MILLRACE_KEYS_DIR="+i.Keys, "MILLRACE_INSTANCE="+i.instance, "MILLRACE_WORKER="+worker, "MILLRACE_HTTP_ADDR=127.0.0.1:0", "MILLRACE_LOG_FORMAT=text",
	)
	cmd.Env = append(cmd.Env, variables...)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		i.t.Fatal(err)
	}
	p := &process{t: i.t, worker: worker, cmd: cmd, ended: make(chan struct{})}
	go func() { defer close(p.ended); p.err = cmd.Wait() }()
	i.t.Cleanup(func() {
		p.kill()
		if i.t.Failed() {
			i.t.Logf("%s said:\n%s", worker, log.String())
		}
	})
	return p
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// end lets the process finish, and wants it to.
func (p *process) end() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.ended:
		if p.err != nil {
			p.t.Errorf("%s: %v", p.worker, p.err)
		}
	case <-time.After(30 * time.Second):
		p.t.Fatalf("%s does not end", p.worker)
	}
}

// expire ends the lease by which a process says that it lives, as the server does within
// [bus.LeaseTime], and returns the process's name on the engine.
func (i *installation) expire(worker string) (process string) {
	i.t.Helper()
	js, err := jetstream.New(i.nc)
	if err != nil {
		i.t.Fatal(err)
	}
	leases, err := js.KeyValue(i.t.Context(), "leases")
	if err != nil {
		i.t.Fatal(err)
	}
	keys, err := leases.Keys(i.t.Context())
	if err != nil {
		i.t.Fatal(err)
	}
	for _, key := range keys {
		name, ok := strings.CutPrefix(key, "process.")
		entry, err := leases.Get(i.t.Context(), key)
		if err != nil || !ok || string(entry.Value()) != worker {
			continue
		}
		if err := leases.Delete(i.t.Context(), key); err != nil {
			i.t.Fatal(err)
		}
		return name
	}
	i.t.Fatalf("%s has no lease among %q", worker, keys)
	return ""
}

// objects lists what the installation has on the engine, each with its kind and the
// session that made it.
func (i *installation) objects() []string {
	i.t.Helper()
	label := "label=millrace.instance=" + i.instance
	const session = `{{.Label "millrace.session"}}`
	var found []string
	for _, args := range [][]string{
		{"ps", "-a", "--no-trunc", "--filter", label, "--format", "container {{.Names}} " + session},
		{"network", "ls", "--filter", label, "--format", "network {{.Name}} " + session},
		{"volume", "ls", "--filter", label, "--format", "volume {{.Name}} " + session},
		{"image", "ls", "-a", "--no-trunc", "--filter", label, "--format", "image {{.ID}}"},
	} {
		out, err := exec.CommandContext(i.t.Context(), "docker", args...).Output()
		if err != nil {
			i.t.Fatalf("docker %s: %v", args[0], err)
		}
		for line := range strings.Lines(string(out)) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

// objectsOf are those that a process made.
func (i *installation) objectsOf(process string) []string {
	i.t.Helper()
	return slices.DeleteFunc(i.objects(), func(o string) bool { return !strings.Contains(o, " "+process+"/") && !strings.HasPrefix(o, "image ") })
}

// await asks until there is no error any more.
func await(t *testing.T, limit time.Duration, what string, ask func() error) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(limit)
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("waited %s for %s: %v", limit, what, err)
		}
	}
}

// images makes sure that the engine has some.
func (w world) images(refs ...string) {
	w.t.Helper()
	for _, ref := range refs {
		if _, err := w.Engine.Resolve(w.t.Context(), ref, container.PullMissing); err == nil {
			continue
		}
		if _, err := standin.Make(w.t.Context(), w.Engine, ref, io.Discard); err != nil {
			w.t.Fatal(err)
		}
	}
}
