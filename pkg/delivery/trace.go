package delivery

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/telemetry"
)

// lateRoot is how long a trace waits for its root, which is emitted just after the
// last fact.
const lateRoot = 3 * time.Second

// Span is a node of a delivery's trace.
type Span struct {
	telemetry.Span
	Missing  bool    `json:"missing,omitempty"`  // no observation tells of it; what it says is derived
	Children []*Span `json:"children,omitempty"` // by start
}

// Trace reads the spans of a delivery as a tree. Spans whose parent is lost hang on
// the root; a root that is not there, since the delivery runs or the observation is
// lost, is made up from what is known.
func Trace(ctx context.Context, b *bus.Bus, number uint64) (*Span, error) {
	d, err := Load(ctx, b, number)
	if err != nil {
		return nil, err
	}
	commit, err := b.Commit(ctx, number)
	if err != nil {
		return nil, err
	}
	root := rootOf(commit, d)
	spans, err := spansOf(ctx, b, d, root.ID)
	if err != nil {
		return nil, fmt.Errorf("trace of delivery %d: %w", number, err)
	}
	return tree(root, spans), nil
}

// rootOf makes the root up.
func rootOf(e bus.Entry, d Delivery) *Span {
	header := bus.Carrier(e.Header)
	caller := telemetry.Parse(header.Get(bus.HeaderHop), header.Get(bus.HeaderState))
	origin := begin(e)
	sc := telemetry.Root(origin.identity(), caller)
	s := &Span{Missing: true, Span: telemetry.Span{
		TraceID: sc.TraceID().String(), ID: sc.SpanID().String(), Name: "RUN " + d.App, Kind: "server",
		Start: d.Accepted, End: d.Finished, App: d.App, Number: d.Number,
	}}
	if caller.IsValid() {
		s.Parent = caller.SpanID().String()
	}
	if d.State.Ended() && !d.State.Good() {
		s.Error = d.Reason
	}
	return s
}

// spansOf reads the spans, and waits a little for the root where it must come.
func spansOf(ctx context.Context, b *bus.Bus, d Delivery, root string) ([]*Span, error) {
	var spans []*Span
	subject := []string{"progress.*." + event.Span + ".*." + text(d.Number)}
	seen, last := false, uint64(0)
	collect := func(e bus.Entry) {
		s := &Span{}
		if e.Sequence > last && json.Unmarshal(e.Data, &s.Span) == nil {
			last, seen = e.Sequence, seen || s.ID == root
			spans = append(spans, s)
		}
	}
	all := func(e bus.Entry) error { collect(e); return nil }
	if err := b.Read(ctx, bus.Progress, subject, all); err != nil || seen || !d.State.Ended() || time.Since(d.Finished) > time.Minute {
		return spans, err
	}
	wait, cancel := context.WithTimeout(ctx, lateRoot)
	defer cancel()
	err := b.Follow(wait, bus.Progress, subject, func(e bus.Entry) error {
		if collect(e); seen {
			return bus.ErrStopped
		}
		return nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil
	}
	return spans, errors.Join(err, ctx.Err())
}

// tree hangs each span on its parent, or on the root.
func tree(root *Span, spans []*Span) *Span {
	byID := map[string]*Span{root.ID: root}
	for _, s := range spans {
		if s.ID == root.ID {
			*root = *s
			continue
		}
		byID[s.ID] = s
	}
	for _, s := range byID {
		if s == root {
			continue
		}
		parent := byID[s.Parent]
		if parent == nil || below(byID, parent, s) {
			parent = root
		}
		parent.Children = append(parent.Children, s)
	}
	for _, s := range byID {
		slices.SortFunc(s.Children, earlier)
	}
	root.lasting()
	return root
}

// below tells whether s hangs, at whatever depth, on itself by way of parent: no
// service of ours makes such spans, but anybody may write to the stream.
func below(byID map[string]*Span, parent, s *Span) bool {
	for range byID {
		if parent == s {
			return true
		}
		if parent = byID[parent.Parent]; parent == nil {
			return false
		}
	}
	return true
}

func earlier(a, b *Span) int {
	if c := a.Start.Compare(b.Start); c != 0 {
		return c
	}
	if c := b.End.Compare(a.End); c != 0 {
		return c
	}
	return cmp.Compare(a.Name+a.ID, b.Name+b.ID)
}

// lasting gives a span that is made up an end: its last child's.
func (s *Span) lasting() {
	for _, c := range s.Children {
		if s.Missing && c.End.After(s.End) {
			s.End = c.End
		}
	}
}
