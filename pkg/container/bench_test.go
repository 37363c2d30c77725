package container

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"testing"
	"time"
)

// BenchmarkStage compares a stage of trivial steps, from its beginning to its last
// result, with the same number of `docker run --rm`, in turn. What a stage leaves
// to be removed is waited for before the next measurement, outside the time.
func BenchmarkStage(b *testing.B) {
	if _, err := exec.LookPath("docker"); err != nil {
		b.Skip("no docker command to compare with")
	}
	e := connect(b, func(c *Config) { c.Warm = 2 })
	b.Logf("engine %s, %d cores", e.Version(), e.Info().CPUs)
	for _, steps := range []int{1, 4, 16} {
		b.Run(fmt.Sprintf("steps=%d", steps), func(b *testing.B) {
			var ours, plain []time.Duration
			for b.Loop() {
				settle(b, e)
				plain = append(plain, timed(func() { dockerRun(b, steps) }))
				settle(b, e)
				ours = append(ours, timed(func() { stage(b, e, steps) }))
			}
			o, p := median(ours), median(plain)
			b.ReportMetric(float64(o.Microseconds())/1000, "ours-ms")
			b.ReportMetric(float64(p.Microseconds())/1000, "docker-run-ms")
			b.ReportMetric(float64(o)/float64(p), "ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// stage runs steps one after another, as a tester does.
func stage(b *testing.B, e *Engine, steps int) {
	s, err := e.Open(b.Context(), Owner{App: "bench", Stage: "test"}, SessionOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close(b.Context())
	prepared := make([]*Prepared, steps)
	for i := range prepared {
		prepared[i] = s.Step(b.Context(), Step{Name: fmt.Sprint("s", i), Image: shellImage, Run: []string{"true"}, Network: true})
	}
	for _, p := range prepared {
		if exit, err := p.Run(b.Context(), io.Discard); err != nil || exit.Code != 0 {
			b.Fatal(exit, err)
		}
	}
}

func dockerRun(b *testing.B, steps int) {
	for range steps {
		if out, err := exec.CommandContext(b.Context(), "docker", "run", "--rm", shellImage, "true").CombinedOutput(); err != nil {
			b.Fatalf("docker run: %v: %s", err, out)
		}
	}
}

// settle waits until nothing happens in the background: sessions are gone, the
// pool is full.
func settle(b *testing.B, e *Engine) {
	b.Helper()
	open := func() []string {
		e.mu.Lock()
		defer e.mu.Unlock()
		return slices.Collect(maps.Keys(e.sessions))
	}
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	for len(open()) > 0 {
		if !sleep(ctx, 10*time.Millisecond) {
			b.Fatal("sessions do not end")
		}
	}
	for len(e.pool.warm) < cap(e.pool.warm) {
		if !sleep(ctx, 10*time.Millisecond) {
			b.Fatal("the pool is not filled")
		}
	}
}

func timed(f func()) time.Duration {
	begin := time.Now()
	f()
	return time.Since(begin)
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
