package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/millrace-cd/millrace/cmd/millrace/internal/render"
	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/delivery"
	"github.com/millrace-cd/millrace/pkg/event"
)

// tailLines is how much of a failed step's log is shown unasked.
const tailLines = 20

// follow shows a delivery until it ends, and ends as it did. Patience, unless 0, is
// how long that may take.
func (a *app) follow(ctx context.Context, b *bus.Bus, n uint64, patience time.Duration) error {
	if patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	d, err := a.watch(ctx, b, n)
	switch {
	case d.State.Ended():
		return a.end(context.WithoutCancel(ctx), b, d)
	case errors.Is(err, context.DeadlineExceeded):
		a.detached(fmt.Sprintf("gave up waiting after %s", patience), n)
		return quiet(GaveUp)
	case errors.Is(err, context.Canceled):
		a.detached("detached", n)
		return quiet(Interrupted)
	}
	return err
}

func (a *app) detached(how string, n uint64) {
	a.say("%s: delivery %d goes on\nhint: millrace show %d -f follows it again", how, n, n)
}

// watch shows what happens to a delivery as it happens.
func (a *app) watch(ctx context.Context, b *bus.Bus, n uint64) (delivery.Delivery, error) {
	switch a.mode() {
	case "quiet":
		return delivery.Follow(ctx, b, n, func(delivery.Delivery, delivery.Change) {})
	case "json":
		return delivery.Follow(ctx, b, n, render.Stream{W: a.screen.Out}.Change)
	case "tty":
		return a.watchLive(ctx, b, n)
	}
	return delivery.Follow(ctx, b, n, render.Plain{W: a.screen.Err}.Change)
}

func (a *app) mode() string {
	switch {
	case a.progress != "auto":
		return a.progress
	case a.screen.Live():
		return "tty"
	}
	return "plain"
}

// watchLive redraws the delivery in place. The last lines of logs come by a reader of
// their own.
func (a *app) watchLive(ctx context.Context, b *bus.Bus, n uint64) (delivery.Delivery, error) {
	d, err := delivery.Load(ctx, b, n)
	if err != nil {
		return d, err
	}
	a.say("%s", render.Title(d))
	ctx, interrupt := context.WithCancel(ctx)
	defer interrupt()
	live := render.NewLive(context.WithoutCancel(ctx), a.screen, d, interrupt)
	reading, stop := context.WithCancel(ctx)
	var logs sync.WaitGroup
	logs.Go(func() { _ = delivery.Logs(reading, b, n, delivery.Which{}, true, live.Chunk) }) // a picture without them will do
	d, err = delivery.Follow(ctx, b, n, live.Change)
	stop()
	logs.Wait()
	return d, errors.Join(err, live.Close())
}

// end says how the delivery ended and turns that into an exit code.
func (a *app) end(ctx context.Context, b *bus.Bus, d delivery.Delivery) error {
	switch a.output {
	case "json":
		if err := a.json(d); err != nil {
			return err
		}
	case "name":
		if err := a.print(d.Number); err != nil {
			return err
		}
	}
	if a.progress != "quiet" && a.progress != "json" {
		a.say("%s", render.Sentence(d, time.Now()))
		if url := d.URL(); url != "" {
			a.say("  %s %s", render.Dim("answers at"), delivery.Text(url))
		}
		if err := a.tails(ctx, b, d, a.screen.Err); err != nil {
			return err
		}
		a.say("  %s millrace show %d · millrace trace %d · millrace logs %d", render.Dim("next:"), d.Number, d.Number, d.Number)
	}
	return quiet(code(d.State))
}

// code is the exit code of a delivery that ended.
func code(s delivery.State) int {
	switch s {
	case delivery.State(event.Succeeded):
		return OK
	case delivery.State(event.Errored):
		return System
	case delivery.State(event.Cancelled), delivery.State(event.Superseded):
		return Cancelled
	}
	return Failed
}

// tails writes the failed tests and the last lines of the steps that made the delivery
// fail, and its reason in full where that says more than one line.
func (a *app) tails(ctx context.Context, b *bus.Bus, d delivery.Delivery, w io.Writer) error {
	s, bad := d.Culprit()
	if !bad {
		return nil
	}
	if strings.Contains(strings.TrimSpace(s.Reason), "\n") {
		render.Reason(w, s)
	}
	for _, step := range s.Failed() {
		render.Cases(w, s, step)
		lines, total, err := delivery.Tail(ctx, b, d.Number, delivery.Which{Stage: s.Name, Step: step.Name}, tailLines)
		if err != nil {
			return err
		}
		render.Tail(w, d, s, step.Name, lines, total)
	}
	return nil
}
