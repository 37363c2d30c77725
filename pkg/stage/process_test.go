package stage

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"go.opentelemetry.io/otel/trace/noop"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/event"
)

const serverVariable = "MILLRACE_TEST_SERVER"

// TestMain lets the test binary be a worker process that tests stop and kill.
func TestMain(m *testing.M) {
	if url := os.Getenv(serverVariable); url != "" {
		workAsProcess(url)
		return
	}
	os.Exit(m.Run())
}

// workAsProcess says "running" when it got an event, fails it when told to go on,
// and says "finished" when that is settled.
func workAsProcess(url string) {
	nc, err := bus.Dial(url, "process", "")
	if err != nil {
		panic(err)
	}
	b, err := bus.Open(nc)
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	run := func(ctx context.Context, j Job[event.Commit]) (event.Tested, error) {
		_, _ = fmt.Fprintln(os.Stdout, "running")
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		cancel() // after this one, end
		return red(ctx, j)
	}
	err = Work(ctx, b, run, Options[event.Commit]{Worker: "process", Tracer: noop.NewTracerProvider().Tracer(""), Grace: 1 << 40})
	_, _ = fmt.Fprintln(os.Stdout, "finished", err)
}

type proc struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.Writer
	lines *bufio.Scanner
}

// process starts a worker process that dies with the test.
func process(t *testing.T, url string) *proc {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serverVariable+"="+url)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return &proc{t: t, cmd: cmd, stdin: stdin, lines: bufio.NewScanner(stdout)}
}

func (p *proc) waitFor(word string) {
	p.t.Helper()
	for p.lines.Scan() {
		if line := p.lines.Text(); len(line) >= len(word) && line[:len(word)] == word {
			return
		}
	}
	p.t.Fatalf("the process ended before it said %q", word)
}

func (p *proc) say(line string) {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.stdin, line); err != nil {
		p.t.Fatal(err)
	}
}

func (p *proc) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}
