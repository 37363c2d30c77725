package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Message is an event handed to a worker, to be settled exactly once.
type Message struct {
	jetstream.Msg
	Address   Address
	Stored    time.Time // when the server got it
	Delivered int       // how often it was handed out, counts from 1
	AckWait   time.Duration
}

// Feed hands out a stage's events, one at a time.
type Feed struct {
	it      jetstream.MessagesContext
	ackWait time.Duration
}

// Consume opens the feed of a stage. Any number of workers may open it; each event
// goes to one of them. Events are not fetched ahead: one that waits in a buffer
// would outlive its AckWait and run twice.
func (b *Bus) Consume(ctx context.Context, stage string) (*Feed, error) {
	stream, cfg := consumer(stage, Settings{})
	c, err := b.js.Consumer(ctx, stream, cfg.Durable)
	if err != nil {
		return nil, notProvisioned("consumer "+stage, err)
	}
	it, err := c.Messages(jetstream.PullMaxMessages(1), jetstream.PullExpiry(30*time.Second), jetstream.PullHeartbeat(5*time.Second))
	if err != nil {
		return nil, fmt.Errorf("consume %s: %w", stage, err)
	}
	return &Feed{it: it, ackWait: c.CachedInfo().Config.AckWait}, nil
}

// ErrStopped is returned by [Feed.Next] after [Feed.Stop].
var ErrStopped = errors.New("feed is stopped")

// Next waits for an event. Passing troubles, such as a server that restarts, it
// sits out.
func (f *Feed) Next() (Message, error) {
	for {
		msg, err := f.it.Next()
		switch {
		case err == nil:
			m, err := newMessage(msg, f.ackWait)
			if err == nil {
				return m, nil
			}
			// Nobody can work on it, now or later; and it must not stop the others.
			_ = msg.TermWithReason(err.Error())
		case errors.Is(err, jetstream.ErrMsgIteratorClosed), errors.Is(err, nats.ErrConnectionClosed):
			return Message{}, ErrStopped
		case errors.Is(err, jetstream.ErrConsumerDeleted), errors.Is(err, jetstream.ErrConsumerNotFound):
			return Message{}, notProvisioned("consumer", jetstream.ErrConsumerNotFound)
		}
	}
}

// Stop ends the feed; a message that was on its way comes back to the server after
// AckWait.
func (f *Feed) Stop() { f.it.Stop() }

func newMessage(msg jetstream.Msg, ackWait time.Duration) (Message, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return Message{}, fmt.Errorf("event without metadata: %w", err)
	}
	a, err := ParseSubject(msg.Subject())
	if err != nil {
		return Message{}, err // our consumers match only our subjects
	}
	if a.Kind == "commit" || a.Kind == "rollback" {
		a.Number = meta.Sequence.Stream
	}
	return Message{Msg: msg, Address: a, Stored: meta.Timestamp, Delivered: int(meta.NumDelivered), AckWait: ackWait}, nil
}

// HandedBack counts how often the event of k came back without anybody's fault.
func (b *Bus) HandedBack(ctx context.Context, k Key) (int, error) {
	kv, err := b.js.KeyValue(ctx, handbacks)
	if err != nil {
		return 0, notProvisioned(handbacks, err)
	}
	n, _, err := handedBack(ctx, kv, k)
	return n, err
}

// HandBack counts one more.
func (b *Bus) HandBack(ctx context.Context, k Key) error {
	kv, err := b.js.KeyValue(ctx, handbacks)
	if err != nil {
		return notProvisioned(handbacks, err)
	}
	n, revision, err := handedBack(ctx, kv, k)
	if err != nil {
		return err
	}
	// Losing a race against another worker of the same event costs one attempt: fine.
	_, err = kv.Update(ctx, k.String(), []byte(strconv.Itoa(n+1)), revision)
	return err
}

func handedBack(ctx context.Context, kv jetstream.KeyValue, k Key) (n int, revision uint64, err error) {
	entry, err := kv.Get(ctx, k.String())
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("read hand-backs of %s: %w", k, err)
	}
	n, err = strconv.Atoi(string(entry.Value()))
	return n, entry.Revision(), err
}

// Backlog is how many events of a stage nobody has begun, and how many are being
// worked on.
func (b *Bus) Backlog(ctx context.Context, stage string) (waiting, running int, err error) {
	stream, cfg := consumer(stage, Settings{})
	c, err := b.js.Consumer(ctx, stream, cfg.Durable)
	if err != nil {
		return 0, 0, notProvisioned("consumer "+stage, err)
	}
	info := c.CachedInfo()
	return int(info.NumPending), info.NumAckPending, nil
}
