// Command bench measures how long it takes from a commit to a healthy container,
// beside the same work done with git and the docker command line, one command after
// another. Both take turns in one run, on the same engine and registry, with a new
// commit each time; what counts is the ratio of the medians.
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
	rounds := flag.Int("rounds", 5, "commits delivered each way")
	limit := flag.Float64("limit", 0, "exit with 1 if the ratio is above; 0 = only tell")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *binary, *rounds, *limit); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, binary string, rounds int, limit float64) (err error) {
	if err := environment(ctx); err != nil {
		return err
	}
	if err := haveImage(ctx); err != nil {
		return err
	}
	m, err := startMillrace(ctx, binary)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.stop()) }()
	repo, err := newRepository(ctx, m.dir)
	if err != nil {
		return err
	}
	cli := &commandLine{repo: repo, registry: m.registry}
	defer cli.clean()
	var ours, theirs []time.Duration
	for i := range rounds + 1 { // the first warms caches on both sides
		commit, err := repo.commit(ctx, i)
		if err != nil {
			return err
		}
		mine, err := m.deliver(ctx, repo, commit)
		if err != nil {
			return fmt.Errorf("millrace: %w", err)
		}
		their, err := cli.deliver(ctx, commit)
		if err != nil {
			return fmt.Errorf("docker command line: %w", err)
		}
		note := ""
		if i == 0 {
			note = "   (warm-up, does not count)"
		} else {
			ours, theirs = append(ours, mine), append(theirs, their)
		}
		fmt.Printf("round %d   millrace %5d ms   git and docker %5d ms   %.2f%s\n", i, mine.Milliseconds(), their.Milliseconds(), ratio(mine, their), note)
	}
	got := ratio(median(ours), median(theirs))
	fmt.Printf("commit to healthy container, medians of %d: millrace %d ms, git and docker one after another %d ms: %.2f x\n",
		rounds, median(ours).Milliseconds(), median(theirs).Milliseconds(), got)
	if err := errors.Join(stages(ctx, m, rounds), reuse(ctx, m)); err != nil {
		return err
	}
	if limit > 0 && got > limit {
		return fmt.Errorf("%.2f x is over the limit of %.2f x", got, limit)
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
