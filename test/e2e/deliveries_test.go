package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	dockercontainer "github.com/moby/moby/api/types/container"
	dockernetwork "github.com/moby/moby/api/types/network"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/network"
	"github.com/testcontainers/testcontainers-go/wait"

	"github.com/millrace-cd/millrace/pkg/attest"
	"github.com/millrace-cd/millrace/pkg/custody"
	"github.com/millrace-cd/millrace/pkg/event"
)

// TestDeliveries runs NATS, a registry and the services, two testers among them, each
// in a container, and delivers ten commits of three apps.
func TestDeliveries(t *testing.T) {
	w := newWorld(t)
	w.services()
	w.dial()

	good, red, unaccepted := w.repository("shell", 5), w.repository("red", 2), w.repository("unaccepted", 3)
	want := map[uint64]string{}
	var numbers []uint64
	for _, c := range interleave(good, red, unaccepted) {
		n := w.publish(c)[0]
		numbers = append(numbers, n)
		want[n] = map[string]string{
			"shell": delivered, "red": "test:failed", "unaccepted": "test:succeeded build:succeeded release:failed",
		}[c.App]
	}
	facts := w.ends(numbers, 5*time.Minute)
	var newest event.Fact
	for _, n := range numbers {
		last := facts[n][len(facts[n])-1]
		got := path(facts[n])
		// A newer release of the app may overtake this one on its way to production.
		if got != want[n] && got != strings.TrimSuffix(delivered, "succeeded")+"superseded" {
			t.Errorf("delivery %d of %s: %s, want %s: %s", n, last.App, got, want[n], last.Reason)
			continue
		}
		if got == delivered && n > newest.Number {
			newest = last
		}
		if last.App == "shell" {
			w.checkChain(last)
		}
	}
	if newest.Number != numbers[indexOfLast(numbers, facts, "shell")] {
		t.Errorf("the newest deployment is of delivery %d", newest.Number)
	}
	w.checkRunning(newest)
	if tags := w.tags("unaccepted"); len(tags) > 0 {
		t.Errorf("a release that failed acceptance has tags %v", tags)
	}
	if tags := w.tags("red"); len(tags) > 0 {
		t.Errorf("a commit whose tests failed has tags %v", tags)
	}
}

func interleave(lists ...[]event.Commit) (all []event.Commit) {
	for i := 0; ; i++ {
		more := false
		for _, l := range lists {
			if i < len(l) {
				all, more = append(all, l[i]), true
			}
		}
		if !more {
			return all
		}
	}
}

func indexOfLast(numbers []uint64, facts map[uint64][]event.Fact, app string) (last int) {
	for i, n := range numbers {
		if facts[n][0].App == app {
			last = i
		}
	}
	return last
}

// services starts the installation, each part in a container.
func (w *world) services() {
	w.t.Helper()
	ctx := w.t.Context()
	net, err := network.New(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	testcontainers.CleanupNetwork(w.t, net)
	conf, err := filepath.Abs(filepath.Join(root, "deploy/nats.conf"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.start(net.Name, "nats", "nats:2.15-alpine", []string{"nats-server", "--config", "/etc/nats/millrace.conf"}, nil, func(r *testcontainers.ContainerRequest) {
		r.Files = []testcontainers.ContainerFile{{HostFilePath: conf, ContainerFilePath: "/etc/nats/millrace.conf", FileMode: 0o644}}
		r.WaitingFor = wait.ForLog("Server is ready")
		publish(r, "4222/tcp", w.nats)
	})
	w.start(net.Name, "registry", "registry:3", nil, map[string]string{"OTEL_TRACES_EXPORTER": "none"}, func(r *testcontainers.ContainerRequest) {
		r.WaitingFor = wait.ForLog("listening on")
		publish(r, "5000/tcp", w.registry)
	})
	env := map[string]string{
		"MILLRACE_NATS_URL": "nats://nats:4222", "MILLRACE_REGISTRY": "registry:5000", "MILLRACE_REGISTRY_PUBLIC": w.public(), "MILLRACE_REGISTRY_INSECURE": "true",
		"MILLRACE_DATA_DIR": w.data, "MILLRACE_INSTANCE": w.instance, "MILLRACE_GIT_PROTOCOLS": "file", "MILLRACE_HTTP_ADDR": ":8081", "MILLRACE_GRACE": "1s",
	}
	w.start(net.Name, "provision", "millrace:dev", []string{"provision", "--wait", "60s"}, env, func(r *testcontainers.ContainerRequest) {
		r.WaitingFor = wait.ForExit().WithExitTimeout(time.Minute)
	})
	for _, s := range []string{"tester", "tester", "builder", "releaser", "deployer"} {
		image := "millrace:dev"
		if s == "tester" {
			image = "millrace-tester:dev"
		}
		w.start(net.Name, s, image, []string{"serve", s}, w.withKeys(env, s), func(r *testcontainers.ContainerRequest) {
			r.WaitingFor = wait.ForLog(`"msg":"ready"`).WithStartupTimeout(time.Minute)
			old := r.HostConfigModifier
			r.HostConfigModifier = func(h *dockercontainer.HostConfig) {
				old(h)
				h.Binds = []string{"/var/run/docker.sock:/var/run/docker.sock", w.data + ":" + w.data, w.repos + ":" + w.repos + ":ro"}
			}
		})
	}
}

// withKeys gives a service its keys as text.
func (w *world) withKeys(env map[string]string, service string) map[string]string {
	w.t.Helper()
	if w.keys == "" {
		w.keys = w.t.TempDir()
		if _, err := attest.Init(w.keys, time.Now(), custody.Tester, custody.Builder, custody.Releaser); err != nil {
			w.t.Fatal(err)
		}
	}
	env = maps.Clone(env)
	for variable, name := range map[string]string{"MILLRACE_TRUSTED_KEYS": attest.TrustedFile, "MILLRACE_KEY": attest.KeyFile(service)} {
		data, err := os.ReadFile(filepath.Join(w.keys, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // the deployer signs nothing
			w.t.Fatal(err)
		}
		env[variable] = string(data)
	}
	return env
}

// publish makes a port of the container one of this host's loopback address.
func publish(r *testcontainers.ContainerRequest, port, host string) {
	r.ExposedPorts = []string{port}
	r.HostConfigModifier = func(h *dockercontainer.HostConfig) {
		h.PortBindings = dockernetwork.PortMap{dockernetwork.MustParsePort(port): {{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: host}}}
	}
}

// start starts one container; what it said is shown when the test fails.
func (w *world) start(net, name, image string, command []string, env map[string]string, change func(*testcontainers.ContainerRequest)) {
	w.t.Helper()
	r := testcontainers.ContainerRequest{
		Image: image, Cmd: command, Env: env, Networks: []string{net}, NetworkAliases: map[string][]string{net: {name}},
		HostConfigModifier: func(*dockercontainer.HostConfig) {},
	}
	change(&r)
	c, err := testcontainers.GenericContainer(w.t.Context(), testcontainers.GenericContainerRequest{ContainerRequest: r, Started: true})
	testcontainers.CleanupContainer(w.t, c)
	if err != nil {
		w.t.Fatal(fmt.Errorf("start %s: %w", name, err))
	}
}
