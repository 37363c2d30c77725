package bus

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Limits of a step's log.
const (
	logChunk = 32 << 10               // bytes of one message
	logDelay = 250 * time.Millisecond // how long a short output waits for more
	// MaxLog is how many bytes of a step's output are kept. The step goes on.
	MaxLog = 16 << 20
	// MaxLogs is how many bytes the steps of a stage keep together.
	MaxLogs = 64 << 20
)

// Headers of log messages.
const (
	LogStep    = "millrace-step"    // the step's name for people
	LogAttempt = "millrace-attempt" // of the stage
	LogTry     = "millrace-try"     // of the step within the attempt
	LogEnd     = "millrace-end"     // on the last message, which is empty: the result, or "truncated"
	LogBytes   = "millrace-bytes"   // on the last message: how many bytes the step printed
	LogSum     = "millrace-sha256"  // on the last message: of all of them
)

// LogKey names the log of one run of a step.
type LogKey struct {
	Stage, App string
	Number     uint64
	Step       string // for people
	Attempt    int    // of the stage
	Try        int    // of the step
}

// Budget is how much several logs may keep together.
type Budget struct{ left atomic.Int64 }

// NewBudget is one of so many bytes.
func NewBudget(bytes int64) *Budget {
	b := &Budget{}
	b.left.Store(bytes)
	return b
}

// take asks for n bytes and says how many there are.
func (b *Budget) take(n int64) int64 {
	if b == nil {
		return n
	}
	left := b.left.Add(-n)
	return max(0, min(n, n+left))
}

// Log stores what a step prints as it comes. It never blocks a step for long: what
// the bus does not take is counted and marked, not waited for.
type Log struct {
	bus    *Bus
	key    LogKey
	budget *Budget
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu    sync.Mutex
	buf   []byte
	sum   hash.Hash
	bytes int64
	sent  int64
	cut   bool
}

// Log opens the log of k. Close it. The budget may be nil.
func (b *Bus) Log(ctx context.Context, k LogKey, budget *Budget) *Log {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l := &Log{bus: b, key: k, budget: budget, cancel: cancel, sum: sha256.New()}
	l.done.Go(func() { l.flushEvery(ctx, logDelay) })
	return l
}

// Write takes what the step printed; it keeps at most [MaxLog] bytes.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bytes += int64(len(p))
	l.sum.Write(p)
	room := MaxLog - l.sent - int64(len(l.buf))
	keep := p[:max(0, min(int64(len(p)), room))]
	keep = keep[:l.budget.take(int64(len(keep)))]
	if len(keep) < len(p) {
		l.cut = true
	}
	for len(keep) > 0 {
		n := min(len(keep), logChunk-len(l.buf))
		l.buf = append(l.buf, keep[:n]...)
		if keep = keep[n:]; len(l.buf) == logChunk {
			l.flush()
		}
	}
	return len(p), nil
}

// Close stores what is left and the end of the log, with the result given.
func (l *Log) Close(result string) error {
	l.cancel()
	l.done.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flush()
	msg := l.message(nil)
	if l.cut {
		result = "truncated"
	}
	msg.Header.Set(LogEnd, result)
	msg.Header.Set(LogBytes, strconv.FormatInt(l.bytes, 10))
	msg.Header.Set(LogSum, hex.EncodeToString(l.sum.Sum(nil)))
	return l.publish(msg)
}

// Bytes is how much the step printed, and its sum in hex.
func (l *Log) Bytes() (int64, string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bytes, hex.EncodeToString(l.sum.Sum(nil))
}

func (l *Log) flushEvery(ctx context.Context, d time.Duration) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.mu.Lock()
			l.flush()
			l.mu.Unlock()
		}
	}
}

// flush sends the buffer. Called with the lock held, so that chunks keep their order.
func (l *Log) flush() {
	if len(l.buf) == 0 {
		return
	}
	if err := l.publish(l.message(l.buf)); err != nil {
		l.cut = true
	}
	l.sent += int64(len(l.buf))
	l.buf = l.buf[:0]
}

func (l *Log) message(data []byte) *nats.Msg {
	k := l.key
	msg := nats.NewMsg(fmt.Sprintf("log.%s.%s.%d.%s", k.Stage, k.App, k.Number, Token(k.Step)))
	msg.Data = data
	msg.Header.Set(LogStep, k.Step)
	msg.Header.Set(LogAttempt, strconv.Itoa(k.Attempt))
	msg.Header.Set(LogTry, strconv.Itoa(k.Try))
	return msg
}

func (l *Log) publish(msg *nats.Msg) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := l.bus.js.PublishMsg(ctx, msg, jetstream.WithRetryAttempts(20)); err != nil {
		return fmt.Errorf("store log of %s: %w", l.key.Step, err)
	}
	return nil
}
