package delivery

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/millrace-cd/millrace/pkg/bus"
)

// Chunk is a piece of what a step printed, or the end of its log.
type Chunk struct {
	Stage   string    `json:"stage"`
	Step    string    `json:"step"`
	Attempt int       `json:"attempt"` // of the stage
	Try     int       `json:"try"`     // of the step within the attempt
	Time    time.Time `json:"time"`
	Data    []byte    `json:"-"` // as the step printed it, which need not be text: see [Clean]

	End   string `json:"end,omitempty"`    // of the last chunk: the step's result, or "truncated"
	Bytes int64  `json:"bytes,omitempty"`  // of the last chunk: how much the step printed
	Sum   string `json:"sha256,omitempty"` // of the last chunk: sha256 in hex of all of it
}

// Which selects logs; the zero value selects all of a delivery.
type Which struct {
	Stage string
	Step  string // as people name it, or its token
}

// Logs calls each for what the steps of a delivery printed, in the order it was
// stored; steps that ran side by side are mixed. With follow it goes on until the
// delivery has ended.
func Logs(ctx context.Context, b *bus.Bus, number uint64, w Which, follow bool, each func(Chunk) error) error {
	if _, err := b.Commit(ctx, number); err != nil {
		return err
	}
	subjects := w.subjects(number)
	handle := func(e bus.Entry) error {
		c := chunk(e)
		if w.Step != "" && c.Step != w.Step && w.Step != e.Address.Step {
			return nil // another step with the same token
		}
		return each(c)
	}
	if !follow {
		return named(number, b.Read(ctx, bus.Logs, subjects, handle))
	}
	return named(number, followLogs(ctx, b, number, subjects, handle))
}

func named(number uint64, err error) error {
	if err != nil {
		return fmt.Errorf("logs of delivery %d: %w", number, err)
	}
	return nil
}

func (w Which) subjects(number uint64) []string {
	stage, step := "*", "*"
	if w.Stage != "" {
		stage = bus.Token(w.Stage)
	}
	if w.Step != "" {
		step = bus.Token(w.Step)
	}
	return []string{"log." + stage + ".*." + text(number) + "." + step}
}

func chunk(e bus.Entry) Chunk {
	c := Chunk{Stage: e.Address.Stage, Step: e.Header.Get(bus.LogStep), Time: e.Stored.UTC(), Data: e.Data, End: e.Header.Get(bus.LogEnd), Sum: e.Header.Get(bus.LogSum)}
	c.Attempt, _ = strconv.Atoi(e.Header.Get(bus.LogAttempt))
	c.Try, _ = strconv.Atoi(e.Header.Get(bus.LogTry))
	c.Bytes, _ = strconv.ParseInt(e.Header.Get(bus.LogBytes), 10, 64)
	if c.Step == "" {
		c.Step = e.Address.Step
	}
	return c
}

// followLogs reads logs until the delivery has ended, then what the reader did not
// see yet.
func followLogs(ctx context.Context, b *bus.Bus, number uint64, subjects []string, handle func(bus.Entry) error) error {
	var mu sync.Mutex
	last := uint64(0)
	once := func(e bus.Entry) error {
		mu.Lock()
		defer mu.Unlock()
		if e.Sequence <= last {
			return nil
		}
		last = e.Sequence
		return handle(e)
	}
	group, both := errgroup.WithContext(ctx)
	live, stop := context.WithCancel(both)
	group.Go(func() error {
		defer stop()
		return ended(both, b, number)
	})
	group.Go(func() error { return b.Follow(live, bus.Logs, subjects, once) })
	if err := group.Wait(); err != nil {
		return err
	}
	return b.Read(ctx, bus.Logs, subjects, once)
}

// ended returns when the delivery has.
func ended(ctx context.Context, b *bus.Bus, number uint64) error {
	commit, err := b.Commit(ctx, number)
	if err != nil {
		return err
	}
	d := begin(commit)
	err = b.Follow(ctx, bus.Deliveries, facts("*", text(number)), func(e bus.Entry) error {
		if d.fact(e); d.State.Ended() {
			return bus.ErrStopped
		}
		return nil
	})
	if err == nil && !d.State.Ended() {
		return ctx.Err()
	}
	return err
}

// Tail reads the last n lines that a step printed in its last run, cleaned of all
// control sequences. It tells how many lines there were.
func Tail(ctx context.Context, b *bus.Bus, number uint64, w Which, n int) (lines []string, total int, err error) {
	var printed bytes.Buffer
	clean, run := Clean(&printed, false), ""
	err = Logs(ctx, b, number, w, false, func(c Chunk) error {
		if id := fmt.Sprint(c.Stage, c.Step, c.Attempt, c.Try); id != run {
			printed.Reset()
			clean, run = Clean(&printed, false), id
		}
		_, err := clean.Write(c.Data)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	for line := range bytes.Lines(printed.Bytes()) {
		lines = append(lines, string(bytes.TrimRight(line, "\n")))
	}
	total = len(lines)
	return lines[max(0, total-n):], total, nil
}
