package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millrace-cd/millrace/pkg/event"
)

// patience is how long a publish is tried again. A cluster that changes its leader
// is silent for five to seven seconds.
const patience = time.Minute

// Publish starts a delivery of c and returns its number. Headers may be nil.
func (b *Bus) Publish(ctx context.Context, c event.Commit, header nats.Header) (uint64, error) {
	if !IsToken(c.App) {
		return 0, fmt.Errorf("app %q is not a DNS label", c.App)
	}
	data, err := json.Marshal(c)
	if err != nil {
		return 0, fmt.Errorf("encode commit: %w", err)
	}
	msg := nats.NewMsg("commit." + c.App)
	msg.Data = data
	if header != nil {
		msg.Header = header
	}
	now := time.Now().UTC()
	id := fmt.Sprintf("%s/%s/%d", c.App, c.Hash, now.UnixNano()) // retries of this call are one, calls are not
	cloudEvent(msg.Header, id, "millrace", "dev.millrace.commit", c.App, now.Format(time.RFC3339Nano))
	ack, err := b.send(ctx, msg, jetstream.WithMsgID(id))
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// Record stores how the stage of k ended, unless that is known already. It returns
// the fact that stands, and whether it is this one.
func (b *Bus) Record(ctx context.Context, k Key, e event.Event, r event.Result, header nats.Header) (event.Fact, bool, error) {
	if err := k.valid(); err != nil {
		return event.Fact{}, false, fmt.Errorf("record: %w", err)
	}
	data, err := event.Encode(e, r)
	if err != nil {
		return event.Fact{}, false, err
	}
	msg := nats.NewMsg(k.subject(string(r.Outcome)))
	msg.Data = data
	if header != nil {
		msg.Header = header
	}
	kind := fmt.Sprintf("dev.millrace.%s.%s", k.Stage, r.Outcome)
	cloudEvent(msg.Header, k.String(), "millrace/"+r.Worker, kind, k.App, r.Finished.UTC().Format(time.RFC3339Nano))
	// The message id stops retries of this very attempt; the condition stops all others.
	id := fmt.Sprintf("%s/%s/%d/%d", k, r.Worker, r.Attempt, r.Started.UnixNano())
	_, err = b.send(ctx, msg, jetstream.WithMsgID(id), jetstream.WithExpectLastSequenceForSubject(0, k.any()))
	if err == nil {
		fact, err := event.Decode(data)
		return fact, true, err
	}
	if !taken(err) {
		return event.Fact{}, false, err
	}
	fact, err := b.winner(ctx, k)
	return fact, false, err
}

// taken tells that somebody wrote the subject first. The first two codes mean the
// condition (the second in flight on a cluster), the last the stream's own limit.
func taken(err error) bool {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return false
	}
	return api.ErrorCode == 10071 || api.ErrorCode == 10164 || api.ErrorCode == 10077 && api.Description == "maximum messages per subject exceeded"
}

// winner reads the result that made ours lose. A replica may not have it yet.
func (b *Bus) winner(ctx context.Context, k Key) (event.Fact, error) {
	return again(ctx, func() (event.Fact, error) {
		fact, found, err := b.Result(ctx, k)
		if err == nil && !found {
			err = fmt.Errorf("%s: its result is not to be read yet", k)
		}
		return fact, err
	})
}

// Result is how the stage of k ended, if it did.
func (b *Bus) Result(ctx context.Context, k Key) (event.Fact, bool, error) {
	stream, err := b.js.Stream(ctx, Deliveries)
	if err != nil {
		return event.Fact{}, false, notProvisioned(Deliveries, err)
	}
	msg, err := stream.GetLastMsgForSubject(ctx, k.any())
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return event.Fact{}, false, nil
	}
	if err != nil {
		return event.Fact{}, false, fmt.Errorf("read %s: %w", k.any(), err)
	}
	fact, err := event.Decode(msg.Data)
	if err != nil { // not of our writing, and yet the one that stands
		a, _ := ParseSubject(msg.Subject)
		fact.Result = event.Result{StageName: k.Stage, Outcome: event.Outcome(a.What), Reason: err.Error()}
	}
	return fact, true, nil
}

// Note stores an observation. It does not wait: an observation may be lost.
func (b *Bus) Note(p event.Progress) {
	p.Time = time.Now().UTC()
	if data, err := json.Marshal(p); err == nil {
		b.NoteRaw(p.StageName, p.What, p.App, p.Number, data)
	}
}

// NoteRaw stores an observation in a form of its own, such as a span.
func (b *Bus) NoteRaw(stage, what, app string, number uint64, data []byte) {
	if !IsToken(stage) || !IsToken(what) || !IsToken(app) {
		return
	}
	_ = b.nc.Publish(fmt.Sprintf("progress.%s.%s.%s.%d", stage, what, app, number), data)
}

// send publishes msg until the server has stored or refused it.
func (b *Bus) send(ctx context.Context, msg *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	ack, err := again(ctx, func() (*jetstream.PubAck, error) {
		ack, err := b.js.PublishMsg(ctx, msg, opts...)
		if final(err) {
			return nil, backoff.Permanent(err)
		}
		return ack, err
	})
	if err != nil {
		return nil, fmt.Errorf("publish %s: %w", msg.Subject, err)
	}
	return ack, nil
}

// final tells that trying again cannot help.
func final(err error) bool {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api.Code >= 400 && api.Code < 500 || taken(err)
	}
	return errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrBadSubject)
}

// again runs do until it succeeds or patience ends.
func again[T any](ctx context.Context, do backoff.Operation[T]) (T, error) {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 20*time.Millisecond, 2*time.Second
	return backoff.Retry(ctx, do, backoff.WithBackOff(b), backoff.WithMaxElapsedTime(patience))
}
