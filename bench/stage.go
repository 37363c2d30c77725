package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/event"
)

// stages measures test stages of trivial steps, beside as many "docker run --rm" one
// after another, and what it takes to reuse a verdict.
func stages(ctx context.Context, binary string, rounds int) (err error) {
	m, err := startMillrace(ctx, binary, "bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.stop()) }()
	fmt.Printf("\na test stage, from its begin to its result, beside docker run --rm of each step, medians of %d\n", rounds)
	for _, c := range []struct {
		steps, megabytes int
	}{{1, 0}, {4, 0}, {16, 0}, {4, 20}} {
		ours, theirs, err := stage(ctx, m, c.steps, c.megabytes, rounds)
		if err != nil {
			return err
		}
		what := fmt.Sprintf("%d steps", c.steps)
		if c.megabytes > 0 {
			what += fmt.Sprintf(", %d MB workspace", c.megabytes)
		}
		fmt.Printf("  %-24s millrace %5d ms   docker run %5d ms   %.2f x\n", what, ours.Milliseconds(), theirs.Milliseconds(), ratio(ours, theirs))
	}
	return reuse(ctx, m)
}

func stage(ctx context.Context, m *millrace, steps, megabytes, rounds int) (ours, theirs time.Duration, err error) {
	repo, err := stepsRepository(ctx, m.dir, steps, "true", megabytes)
	if err != nil {
		return 0, 0, err
	}
	var mine, their []time.Duration
	for i := range rounds + 1 {
		commit, err := repo.commit(ctx, i)
		if err != nil {
			return 0, 0, err
		}
		f, err := m.test(ctx, repo, commit)
		if err != nil {
			return 0, 0, err
		}
		took, err := dockerRuns(ctx, repo.dir, steps)
		if err != nil {
			return 0, 0, err
		}
		if i > 0 { // the first warms caches on both sides
			mine, their = append(mine, f), append(their, took)
		}
	}
	return median(mine), median(their), nil
}

func dockerRuns(ctx context.Context, dir string, n int) (time.Duration, error) {
	begin := time.Now()
	for range n {
		if _, err := output(ctx, dir, "docker", "run", "--rm", "-v", dir+":/workspace:ro", "-w", "/workspace", image, "sh", "-ec", "true"); err != nil {
			return 0, err
		}
	}
	return time.Since(begin), nil
}

// reuse measures the test stage of a commit whose tests passed before.
func reuse(ctx context.Context, m *millrace) error {
	repo, err := stepsRepository(ctx, m.dir, 2, "sleep 3", 0)
	if err != nil {
		return err
	}
	commit, err := repo.commit(ctx, 0)
	if err != nil {
		return err
	}
	run, err := m.test(ctx, repo, commit)
	if err != nil {
		return err
	}
	again, err := m.test(ctx, repo, commit)
	if err != nil {
		return err
	}
	fmt.Printf("\ntests of three seconds: run %d ms, verdict reused %d ms: %.3f x\n", run.Milliseconds(), again.Milliseconds(), ratio(again, run))
	return nil
}

// stepsRepository is an app with n steps whose delivery ends right after its tests.
func stepsRepository(ctx context.Context, parent string, n int, script string, megabytes int) (repository, error) {
	var file strings.Builder
	file.WriteString("version: 1\nname: bench\ndefaults: { image: \"" + image + "\" }\ntest:\n")
	for i := range n {
		fmt.Fprintf(&file, "  s%d: { run: \"%s\" }\n", i, script)
	}
	file.WriteString("build: { run: exit 1, artifacts: [x] }\nrelease: { image: bench, base: scratch, files: { x: /x }, acceptance: none }\n")
	r := repository{dir: filepath.Join(parent, fmt.Sprintf("steps-%d-%d-%d", n, megabytes, len(script)))}
	if err := os.MkdirAll(filepath.Join(r.dir, "www"), 0o755); err != nil {
		return r, err
	}
	if err := os.WriteFile(filepath.Join(r.dir, "millrace.yaml"), []byte(file.String()), 0o644); err != nil {
		return r, err
	}
	for i := range megabytes * 50 { // a thousand files
		data := make([]byte, 20<<10)
		_, _ = rand.Read(data)
		name := filepath.Join(r.dir, fmt.Sprintf("d%d", i%20), fmt.Sprintf("f%d", i))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return r, err
		}
		if err := os.WriteFile(name, data, 0o644); err != nil {
			return r, err
		}
	}
	_, err := output(ctx, r.dir, "git", "init", "--quiet", "--initial-branch=main")
	return r, err
}

// test delivers the commit to its end and returns how long its test stage took.
func (m *millrace) test(ctx context.Context, repo repository, commit string) (took time.Duration, err error) {
	facts, err := m.facts(ctx, repo, commit)
	if err != nil {
		return 0, err
	}
	for _, f := range facts {
		if f.StageName == event.StageTest && f.Outcome == event.Succeeded {
			return f.Finished.Sub(f.Started), nil
		}
	}
	return 0, fmt.Errorf("the tests did not pass: %s", facts[0].Reason)
}

// facts delivers the commit and returns how its stages ended.
func (m *millrace) facts(ctx context.Context, repo repository, commit string) (facts []event.Fact, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	number, err := m.bus.Publish(ctx, event.Commit{App: "bench", Repository: "file://" + repo.dir, Hash: commit, Ref: "refs/heads/main"}, nil)
	if err != nil {
		return nil, err
	}
	err = m.bus.Follow(ctx, bus.Deliveries, []string{fmt.Sprintf("delivery.*.*.bench.%d.>", number), fmt.Sprintf("delivery.*.*.bench.%d", number)}, func(e bus.Entry) error {
		fact, err := event.Decode(e.Data)
		if err != nil {
			return err
		}
		if facts = append(facts, fact); fact.Ends() {
			return bus.ErrStopped
		}
		return nil
	})
	if err == nil && (len(facts) == 0 || !facts[len(facts)-1].Ends()) {
		err = fmt.Errorf("delivery %d did not end\n%s", number, m.tail())
	}
	return facts, err
}
