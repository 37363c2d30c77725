package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/millrace-cd/millrace/cmd/millrace/internal/hello"
	"github.com/millrace-cd/millrace/cmd/millrace/internal/repo"
	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/pipeline"
	"github.com/millrace-cd/millrace/pkg/standin"
)

// host is a machine with a Docker engine, as the test of a whole command sees it.
type host struct {
	*testing.T
	dir string // for temporary files of the commands, and for nothing else
}

// newHost finds the engine and sees to it that it has the images which the files name:
// what a demo makes, it removes, and other tests may use it just then.
func newHost(t *testing.T, files fs.FS) host {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a Docker engine")
	}
	for _, program := range []string{"docker", "git"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	h := host{t, t.TempDir()}
	e := h.engine("test")
	data, err := fs.ReadFile(files, "millrace.yaml")
	h.check(err)
	file, err := pipeline.Parse("millrace.yaml", data)
	h.check(err)
	for _, ref := range file.ImageRefs() {
		if _, err := e.Resolve(t.Context(), ref, container.PullMissing); err != nil {
			_, err = standin.Make(t.Context(), e, ref, io.Discard)
			h.check(err)
		}
	}
	return h
}

func (h host) check(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h host) engine(instance string) *container.Engine {
	h.Helper()
	e, err := container.Connect(h.Context(), container.Config{Instance: instance, Warm: -1})
	if err != nil {
		h.Skip(err)
	}
	h.Cleanup(func() { h.check(e.Close()) })
	return e
}

// millrace is the command, not started yet.
func (h host) millrace(args ...string) *exec.Cmd {
	h.Helper()
	cmd := exec.CommandContext(h.Context(), "millrace", args...) // TestMain puts this very binary there
	cmd.Dir = h.dir
	cmd.Env = append(os.Environ(), "TMPDIR="+h.dir, "HOME="+h.dir, "XDG_DATA_HOME=", "NO_COLOR=1", "TRACEPARENT=")
	return cmd
}

// output runs the command and wants it to succeed.
func (h host) output(args ...string) string {
	h.Helper()
	var out, errs bytes.Buffer
	cmd := h.millrace(args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		h.Fatalf("millrace %s: %v\n%s%s", strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String()
}

// left lists what the engine has of an instance, by docker's own eyes: containers,
// networks, volumes, and images from its registry.
func (h host) left(instance, registry string) (left []string) {
	h.Helper()
	for _, what := range [][]string{
		{"ps", "--all", "--format", "container {{.Names}}"},
		{"network", "ls", "--format", "network {{.Name}}"},
		{"volume", "ls", "--format", "volume {{.Name}}"},
	} {
		left = append(left, h.docker(append(what, "--filter", "label=millrace.instance="+instance)...)...)
	}
	for _, image := range h.docker("images", "--all", "--format", "{{.Repository}}") {
		if strings.HasPrefix(image, registry+"/") {
			left = append(left, "image "+image)
		}
	}
	return left
}

func (h host) docker(args ...string) []string {
	h.Helper()
	out, err := exec.CommandContext(h.Context(), "docker", args...).Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		h.Fatalf("docker %s: %v\n%s", args[0], err, exit.Stderr)
	}
	h.check(err)
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
}

// TestDemo runs the demo as somebody who has just found Millrace does, and looks
// whether it keeps its word: it shows everything, and leaves nothing.
func TestDemo(t *testing.T) {
	files, err := hello.Files()
	if err != nil {
		t.Fatal(err)
	}
	h := newHost(t, files)
	cmd := h.millrace("demo")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	h.check(cmd.Start())
	instance := fmt.Sprintf("demo-%d", cmd.Process.Pid)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	sections := []string{
		`Millrace demo: a commit goes all the way`, `✓ docker +engine `, `✓ images +`, `✓ sample +git repository "hello"`, `✓ millrace +NATS, registry (127\.0\.0\.1:\d+)`,
		`Commit [0-9a-f]{7} is published`, `✓ succeeded in `,
		`The app answers`, `GET http://127\.0\.0\.1:\d+\S* +200 OK`,
		`One trace, from the commit to production`, `RUN hello`, `deploy production`,
		`What was tested is what runs`, `snapshot +sha256:`, `artifact +sha256:`, `image +127`, `this one`,
		`Next`, `millrace deliver`,
	}
	found := regexp.MustCompile("(?s)" + strings.Join(sections, ".*")).FindStringSubmatch(out.String())
	if found == nil {
		t.Fatalf("not all sections in their order:\n%s", out.String())
	}
	if left := h.left(instance, found[1]); len(left) > 0 {
		t.Errorf("left on the engine: %q", left)
	}
	if left, err := filepath.Glob(filepath.Join(h.dir, "*")); len(left) > 0 || err != nil {
		t.Errorf("left on disk: %q %v", left, err)
	}
}

// slow is an app that costs no compiling, and whose test lasts long enough to be
// interrupted.
const slow = `
-- millrace.yaml --
version: 1
name: slowpage
defaults: { image: "busybox:1.37" }
test:
  unit: { run: "sleep 4; grep -q page www/index.html" }
build:
  run: mkdir dist && cp -R www dist/www && cp /bin/busybox dist/
  artifacts: [dist/**]
release:
  image: slowpage
  base: scratch
  files: { dist/: / }
  entrypoint: [/busybox, httpd, -f, -p, "8080", -h, /www]
  ports: [8080]
  ready: { http: ":8080/", within: 30s }
  acceptance: none
deploy:
  - name: production
    docker: { publish: ["127.0.0.1::8080"] }
-- www/index.html --
page
`

// TestUp interrupts all of Millrace in the middle of a step, and starts it again: the
// delivery goes on by itself, and at the end nothing is left.
func TestUp(t *testing.T) {
	files, err := txtar.FS(txtar.Parse([]byte(slow)))
	if err != nil {
		t.Fatal(err)
	}
	h := newHost(t, files)
	work := t.TempDir()
	h.check(repo.Make(t.Context(), filepath.Join(work, "page"), files, "Say page", os.Environ()))
	instance := fmt.Sprintf("up-%d-%d", os.Getpid(), time.Now().UnixNano()%1e6)
	e := h.engine(instance)
	t.Cleanup(func() {
		if err := e.Purge(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	args := []string{"up", "--data", filepath.Join(work, "data"), "--nats-port", "0", "--registry-port", "0", "--instance", instance}

	up := h.up(args...)
	args[6] = strings.TrimPrefix(up.registry, "127.0.0.1:") // the facts name it
	if got := h.output("deliver", filepath.Join(work, "page"), "--detach", "-o", "name", "--nats", up.nats); got != "1\n" {
		t.Errorf("deliver says %q, want 1", got)
	}
	h.await("1", up.nats, `"step-started"`)
	up.interrupt("stopping; what runs is handed back")
	if left := h.left(instance, up.registry); len(left) > 0 {
		t.Errorf("left on the engine in the middle of a delivery: %q", left)
	}

	up = h.up(append(args, "--purge")...)
	h.output("show", "1", "--follow", "--nats", up.nats)
	if got := h.output("artifact", "1", "ls", "-o", "name", "--nats", up.nats); got != "dist/busybox\ndist/www/index.html\n" {
		t.Errorf("the artifact has %q", got)
	}
	if got := h.output("artifact", "1", "get", "dist/www/index.html", "-", "--nats", up.nats); got != "page\n" {
		t.Errorf("the page is %q", got)
	}
	up.verify(filepath.Join(work, "data", "keys"))
	up.interrupt("stopping")
	if left := h.left(instance, up.registry); len(left) > 0 {
		t.Errorf("left on the engine: %q", left)
	}
}

// upProcess is a running millrace up.
type upProcess struct {
	host
	cmd            *exec.Cmd
	nats, registry string
	rest           chan string // of what it says, when it has ended
}

// up starts one and waits until it says that it is.
func (h host) up(args ...string) *upProcess {
	h.Helper()
	p := &upProcess{host: h, cmd: h.millrace(args...), rest: make(chan string, 1)}
	pipe, err := p.cmd.StderrPipe()
	h.check(err)
	h.check(p.cmd.Start())
	lines := bufio.NewReader(pipe)
	var said strings.Builder
	for !strings.Contains(said.String(), "Ctrl-C stops it") {
		line, err := lines.ReadString('\n')
		if said.WriteString(line); err != nil {
			h.Fatalf("millrace up ended: %v\n%s", p.cmd.Wait(), said.String())
		}
		if where, ok := strings.CutPrefix(line, "  nats "); ok {
			p.nats = strings.TrimSpace(where)
		}
		if where, ok := strings.CutPrefix(line, "  registry "); ok {
			p.registry = strings.TrimSpace(where)
		}
	}
	go func() {
		rest, _ := io.ReadAll(lines)
		p.rest <- string(rest)
	}()
	return p
}

// verify asks where the image of delivery 1 comes from, and what is in it: with the keys of
// the installation, and with those of somebody else.
func (p *upProcess) verify(keys string) {
	p.Helper()
	var released struct {
		Image string
		Tags  []string
	}
	p.check(json.Unmarshal([]byte(p.output("show", "1", "-o", "json", "--nats", p.nats)), &released))
	name, digest, _ := strings.Cut(released.Image, "@")
	tagged := name + ":" + released.Tags[0]
	for _, image := range []string{released.Image, tagged} {
		if got := p.output("verify", image, "--keys", keys); !strings.Contains(got, digest) || !strings.Contains(got, "└─ commit ") {
			p.Errorf("verify %s says\n%s", image, got)
		}
	}
	if got := p.output("sbom", tagged, "--keys", keys, "-o", "json"); !strings.Contains(got, "CycloneDX") {
		p.Errorf("the SBOM is\n%s", got)
	}
	strangers := filepath.Join(p.dir, "strangers")
	p.output("keys", "init", "--dir", strangers)
	for _, command := range []string{"verify", "sbom"} {
		out, err := p.millrace(command, tagged, "--keys", strangers).CombinedOutput()
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "at the statement of the releaser") {
			p.Errorf("%s with a stranger's keys: %v\n%s", command, err, out)
		}
	}
}

// interrupt presses Ctrl-C and wants a clean end that says so.
func (p *upProcess) interrupt(want string) {
	p.Helper()
	p.check(p.cmd.Process.Signal(syscall.SIGINT))
	said := <-p.rest
	if err := p.cmd.Wait(); err != nil || !strings.Contains(said, want) {
		p.Errorf("millrace up ended with %v and said no %q:\n%s", err, want, said)
	}
}

// await follows a delivery until something is told of it.
func (h host) await(number, nats, what string) {
	h.Helper()
	ctx, stop := context.WithTimeout(h.Context(), 2*time.Minute)
	defer stop()
	show := h.millrace("show", number, "--follow", "--progress", "json", "--nats", nats)
	pipe, err := show.StdoutPipe()
	h.check(err)
	h.check(show.Start())
	defer context.AfterFunc(ctx, func() { _ = show.Process.Kill() })()
	lines := bufio.NewScanner(pipe)
	for lines.Scan() && !strings.Contains(lines.Text(), what) {
	}
	if !strings.Contains(lines.Text(), what) {
		h.Errorf("delivery %s was never %s", number, what)
	}
	stop()
	_ = show.Wait() // it was killed
}
