package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Entry is one message of a stream, as it is stored.
type Entry struct {
	Address  Address
	Subject  string
	Sequence uint64
	Stored   time.Time
	Header   nats.Header
	Data     []byte
}

// Read calls handle for everything that a stream holds on the subjects, oldest
// first, and returns when it has seen all that was there at the call.
func (b *Bus) Read(ctx context.Context, stream string, subjects []string, handle func(Entry) error) error {
	return b.read(ctx, stream, subjects, false, handle)
}

// Follow is Read that goes on with what comes, until ctx ends or handle returns an
// error. [ErrStopped] from handle ends it without one.
func (b *Bus) Follow(ctx context.Context, stream string, subjects []string, handle func(Entry) error) error {
	err := b.read(ctx, stream, subjects, true, handle)
	if errors.Is(err, ErrStopped) || errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil
	}
	return err
}

func (b *Bus) read(ctx context.Context, stream string, subjects []string, follow bool, handle func(Entry) error) error {
	c, err := b.js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{FilterSubjects: subjects})
	if err != nil {
		return notProvisioned("read "+stream, err)
	}
	info, err := c.Info(ctx)
	if err != nil {
		return fmt.Errorf("read %s: %w", stream, err)
	}
	// What was delivered already counts: the consumer runs before it is asked.
	left := info.NumPending + uint64(info.NumAckPending)
	if left == 0 && !follow {
		return nil
	}
	it, err := c.Messages()
	if err != nil {
		return fmt.Errorf("read %s: %w", stream, err)
	}
	defer it.Stop()
	defer context.AfterFunc(ctx, it.Stop)()
	for {
		msg, err := it.Next()
		if err != nil {
			return errors.Join(ctx.Err(), ignoreClosed(err))
		}
		entry, pending, err := newEntry(msg)
		if err == nil { // else a subject of a later version of ours
			if err := handle(entry); err != nil {
				return err
			}
		}
		if pending == 0 && !follow {
			return nil
		}
	}
}

func ignoreClosed(err error) error {
	if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
		return nil
	}
	return err
}

func newEntry(msg jetstream.Msg) (Entry, uint64, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return Entry{}, 0, err
	}
	a, err := ParseSubject(msg.Subject())
	if a.Kind == "commit" || a.Kind == "rollback" {
		a.Number = meta.Sequence.Stream
	}
	return Entry{
		Address: a, Subject: msg.Subject(), Sequence: meta.Sequence.Stream,
		Stored: meta.Timestamp, Header: msg.Headers(), Data: msg.Data(),
	}, meta.NumPending, err
}

// Commit reads the commit event of delivery number.
func (b *Bus) Commit(ctx context.Context, number uint64) (Entry, error) {
	stream, err := b.js.Stream(ctx, Commits)
	if err != nil {
		return Entry{}, notProvisioned(Commits, err)
	}
	msg, err := stream.GetMsg(ctx, number)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Entry{}, fmt.Errorf("delivery %d: %w", number, ErrNotFound)
	}
	if err != nil {
		return Entry{}, fmt.Errorf("read delivery %d: %w", number, err)
	}
	a, err := ParseSubject(msg.Subject)
	a.Number = msg.Sequence
	return Entry{Address: a, Subject: msg.Subject, Sequence: msg.Sequence, Stored: msg.Time, Header: msg.Header, Data: msg.Data}, err
}

// ErrNotFound says that there is no such delivery.
var ErrNotFound = errors.New("not found")
