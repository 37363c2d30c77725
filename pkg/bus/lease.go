package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// LeaseTime is how long a lease outlives its holder.
const LeaseTime = 30 * time.Second

// Lease is a name that one holder has at a time, for as long as it lives. It keeps
// holders apart as a rule; a paused process may believe in it too long, so what must
// never happen twice needs a fence of its own.
type Lease struct {
	key    string
	kv     jetstream.KeyValue
	js     jetstream.JetStream
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu       sync.Mutex
	revision uint64
}

// ErrHeld says that somebody else has the lease.
var ErrHeld = errors.New("somebody else holds it")

// ErrLost is the cause with which the context of a lease ends that could not be
// renewed.
var ErrLost = errors.New("the lease is lost")

// Acquire takes the lease of key (tokens separated by dots) for holder, whose name
// others may read, or returns [ErrHeld]. The context ends when the lease is lost.
func (b *Bus) Acquire(ctx context.Context, key, holder string) (*Lease, context.Context, error) {
	kv, err := b.js.KeyValue(ctx, leases)
	if err != nil {
		return nil, nil, notProvisioned(leases, err)
	}
	revision, err := kv.Create(ctx, key, []byte(holder), jetstream.KeyTTL(LeaseTime))
	if errors.Is(err, jetstream.ErrKeyExists) || taken(err) {
		return nil, nil, fmt.Errorf("lease %s: %w", key, ErrHeld)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("take lease %s: %w", key, err)
	}
	held, lost := context.WithCancelCause(ctx)
	renew, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l := &Lease{key: key, kv: kv, js: b.js, cancel: cancel, revision: revision}
	l.done.Go(func() { l.keep(renew, holder, lost) })
	return l, held, nil
}

// AcquireWhenFree is Acquire that waits. It calls waiting with the holder's name
// when it begins to, and each time that changes.
func (b *Bus) AcquireWhenFree(ctx context.Context, key, holder string, waiting func(holder string)) (*Lease, context.Context, error) {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for last := ""; ; {
		l, held, err := b.Acquire(ctx, key, holder)
		if !errors.Is(err, ErrHeld) {
			return l, held, err
		}
		if by, err := b.Holder(ctx, key); err == nil && by != "" && by != last {
			last = by
			waiting(by)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// Holder is who has the lease of key; "" for nobody.
func (b *Bus) Holder(ctx context.Context, key string) (string, error) {
	kv, err := b.js.KeyValue(ctx, leases)
	if err != nil {
		return "", notProvisioned(leases, err)
	}
	entry, err := kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read lease %s: %w", key, err)
	}
	return string(entry.Value()), nil
}

// keep renews the lease until released; lost ends the holder's context when the
// lease is somebody else's, or may be.
func (l *Lease) keep(ctx context.Context, holder string, lost context.CancelCauseFunc) {
	tick := time.NewTicker(LeaseTime / 3)
	defer tick.Stop()
	renewed := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := l.renew(ctx, holder)
		switch {
		case err == nil:
			renewed = time.Now()
		case taken(err), time.Since(renewed) > LeaseTime:
			lost(fmt.Errorf("%w: %s: %w", ErrLost, l.key, err))
			return
		}
	}
}

// renew writes the key again. The bucket's own Update would drop the time to live.
func (l *Lease) renew(ctx context.Context, holder string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	msg := nats.NewMsg("$KV." + leases + "." + l.key)
	msg.Data = []byte(holder)
	ack, err := l.js.PublishMsg(ctx, msg, jetstream.WithExpectLastSequencePerSubject(l.revision), jetstream.WithMsgTTL(LeaseTime))
	if err != nil {
		return err
	}
	l.revision = ack.Sequence
	return nil
}

// Release gives the lease back, if it still is ours.
func (l *Lease) Release(ctx context.Context) {
	l.cancel()
	l.done.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.kv.Delete(ctx, l.key, jetstream.LastRevision(l.revision)) // else it ends by itself
}
