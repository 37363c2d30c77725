package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// rest lets what went before come to its end: containers are removed, and others made
// ahead. Everybody begins on a quiet engine.
const rest = 5 * time.Second

// deliveries measures commit to healthy container three ways in turn: by a Millrace that
// had a moment to make the release's environment ahead (warm), by one that never does
// (cold), and by git and docker commands one after another.
func deliveries(ctx context.Context, binary string, rounds int) (err error) {
	warm, err := startMillrace(ctx, binary, "bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, warm.stop()) }()
	cold, err := startMillrace(ctx, binary, "bench-cold", "MILLRACE_AHEAD=false")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cold.stop()) }()
	repo, err := newRepository(ctx, warm.dir)
	if err != nil {
		return err
	}
	cli := &commandLine{repo: repo, registry: warm.registry}
	defer cli.clean()
	ways := []way{
		{name: "millrace, warm", deliver: func(ctx context.Context, c string) (time.Duration, error) { return warm.deliver(ctx, repo, c) }},
		{name: "millrace, cold", deliver: func(ctx context.Context, c string) (time.Duration, error) { return cold.deliver(ctx, repo, c) }},
		{name: "git and docker", deliver: cli.deliver},
	}
	for i := range rounds + 1 {
		if err := round(ctx, repo, ways, i); err != nil {
			return err
		}
	}
	base := median(ways[2].took)
	fmt.Printf("commit to healthy container, medians of %d:\n", rounds)
	for _, w := range ways {
		fmt.Printf("  %s %5d ms   %.2f x\n", w.name, median(w.took).Milliseconds(), ratio(median(w.took), base))
	}
	return nil
}

// way is one way to deliver, and how long each delivery took.
type way struct {
	name    string
	deliver func(ctx context.Context, commit string) (time.Duration, error)
	took    []time.Duration
}

// round delivers one commit each way. The first round warms the caches of all.
func round(ctx context.Context, repo repository, ways []way, i int) error {
	fmt.Printf("round %d", i)
	commit, err := repo.commit(ctx, i)
	if err != nil {
		return err
	}
	for n := range ways {
		if err := sleep(ctx, rest); err != nil {
			return err
		}
		took, err := ways[n].deliver(ctx, commit)
		if err != nil {
			return fmt.Errorf("%s: %w", ways[n].name, err)
		}
		fmt.Printf("   %s %5d ms", ways[n].name, took.Milliseconds())
		if i > 0 {
			ways[n].took = append(ways[n].took, took)
		}
	}
	if i == 0 {
		fmt.Print("   (does not count)")
	}
	fmt.Println()
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
