package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/millrace-cd/millrace/pkg/event"
)

// TestCompose runs docker-compose.yml as a team would: up, deliver, three testers while
// deliveries run, one of them killed, down. Nothing is lost, and nothing is left.
func TestCompose(t *testing.T) {
	w := newWorld(t)
	c := newCompose(w)
	c.run("up", "-d")
	w.dial()

	commits := w.repository("shell", 6)
	numbers := w.publish(commits[:3]...)
	c.run("up", "-d", "--scale", "tester=3", "tester")
	numbers = append(numbers, w.publish(commits[3:]...)...)
	testers := strings.Fields(c.run("ps", "-q", "tester"))
	if len(testers) != 3 {
		t.Fatalf("%d testers, want 3", len(testers))
	}
	w.docker("kill", "--signal=KILL", testers[0]) // with whatever it was doing
	facts := w.ends(numbers, 5*time.Minute)
	var workers []string
	for _, n := range numbers {
		got, last := path(facts[n]), facts[n][len(facts[n])-1]
		if got != delivered && got != strings.TrimSuffix(delivered, "succeeded")+string(event.Superseded) {
			t.Errorf("delivery %d: %s: %s", n, got, last.Reason)
		}
		workers = append(workers, facts[n][0].Worker)
	}
	if last := facts[numbers[len(numbers)-1]]; path(last) != delivered {
		t.Errorf("the newest delivery ended as %s", path(last))
	} else {
		w.checkChain(last[len(last)-1])
		w.checkRunning(last[len(last)-1])
	}
	t.Logf("tested by %v", workers)
	c.run("down", "-v")
	c.gone()
}

// compose is a project of docker-compose.yml.
type compose struct {
	w       *world
	project string
	command []string
	env     []string
}

func newCompose(w *world) *compose {
	w.t.Helper()
	c := &compose{w: w, project: "millrace-" + w.instance, command: []string{"docker-compose"}}
	if err := exec.Command("docker", "compose", "version").Run(); err == nil {
		c.command = []string{"docker", "compose"}
	} else if _, err := exec.LookPath("docker-compose"); err != nil {
		w.t.Fatal("neither docker compose nor docker-compose is installed")
	}
	c.env = append(os.Environ(), "MILLRACE_DATA="+w.data, "MILLRACE_NATS_PORT="+w.nats, "MILLRACE_REGISTRY_PORT="+w.registry,
		"MILLRACE_REPOSITORIES="+w.repos, "MILLRACE_INSTANCE="+w.instance, "COMPOSE_PROJECT_NAME="+c.project, "COMPOSE_IGNORE_ORPHANS=1")
	w.t.Cleanup(func() {
		if w.t.Failed() {
			w.t.Log(c.run("logs", "--no-color", "--tail", "40"))
		}
		c.run("down", "-v", "--timeout", "5")
	})
	return c
}

// run runs a command of compose on the project.
func (c *compose) run(args ...string) string {
	c.w.t.Helper()
	full := append(c.command[1:len(c.command):len(c.command)], "-f", "docker-compose.yml", "-f", "deploy/compose.local.yml")
	cmd := exec.Command(c.command[0], append(full, args...)...)
	cmd.Env = c.env
	cmd.Dir, _ = filepath.Abs(root)
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.w.t.Errorf("%s %s: %v\n%s", c.command[0], strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// gone wants nothing of the project to be left.
func (c *compose) gone() {
	c.w.t.Helper()
	label := "label=com.docker.compose.project=" + c.project
	for _, kind := range [][]string{{"ps", "-aq"}, {"network", "ls", "-q"}, {"volume", "ls", "-q"}} {
		if left := c.w.docker(append(kind, "--filter", label)...); left != "" {
			c.w.t.Errorf("after down, docker %s still has %s", kind[0], left)
		}
	}
}
