// Command bench measures how long it takes from a commit to a healthy container, and
// the stages of a delivery, beside the same work done with git and the docker command
// line, one command after another. All take turns in one run, on the same engine and
// registry; what counts is the ratio of the medians.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	binary := flag.String("millrace", "bin/millrace", "the binary to measure")
	rounds := flag.Int("rounds", 4, "how often each is measured")
	parts := flag.String("parts", "delivery,stages,release", "what to measure")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *binary, *rounds, strings.Split(*parts, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, binary string, rounds int, parts []string) error {
	if err := environment(ctx); err != nil {
		return err
	}
	if err := haveImage(ctx); err != nil {
		return err
	}
	for _, p := range parts {
		part, ok := map[string]func(context.Context, string, int) error{"delivery": deliveries, "stages": stages, "release": releases}[p]
		if !ok {
			return fmt.Errorf("there is no part %q: want delivery, stages or release", p)
		}
		if err := part(ctx, binary, rounds); err != nil {
			return err
		}
	}
	return nil
}

// environment prints what the figures depend on.
func environment(ctx context.Context) error {
	engine, err := output(ctx, "", "docker", "version", "--format", "{{.Server.Version}}")
	if err != nil {
		return fmt.Errorf("docker engine: %w", err)
	}
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Printf("engine %s, %d cores, load %s, %s\n\n", engine, runtime.NumCPU(), strings.Join(strings.Fields(string(load))[:1], ""), runtime.Version())
	return nil
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}

// output runs a command and returns what it prints; what it prints to stderr is the
// error's.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}
