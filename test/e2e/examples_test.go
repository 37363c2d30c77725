package e2e

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/standin"
)

// TestExamples delivers what people write: a Go program with its database, a service in
// Python that is installed, one in C, a page with a Dockerfile. The second commit of the
// first changes nothing that its tests read; what is released twice is the same image.
func TestExamples(t *testing.T) {
	w := newWorld(t)
	w.needs("postgres:17-alpine", "python:3.13-slim", "gcc:14")
	w.services()
	w.dial()

	shop, orders, tally, leaflet := w.repository("shop", 2), w.repository("orders", 1), w.repository("tally", 1), w.repository("leaflet", 1)
	first := w.publish(shop[0], orders[0], tally[0], leaflet[0])
	facts := w.ends(first, 8*time.Minute)
	for i, asked := range []struct{ path, answer string }{
		{"/delivery?at=2026-11-26T11:30:00Z", "2026-11-26"},
		{"/version", orders[0].Hash},
		{"/version", tally[0].Hash},
		{"/version", leaflet[0].Hash},
	} {
		last := w.delivered(facts[first[i]])
		if body := ask(t, last.URL+asked.path); !strings.Contains(body, asked.answer) {
			t.Errorf("%s answers %s with %q, want %s in it", last.App, asked.path, body, asked.answer)
		}
	}
	w.checkShop(facts[first[0]][0].Tested)
	if unit := step(t, facts[first[1]][0].Tests, "unit"); unit.Tests == nil || unit.Tests.Passed != 8 {
		t.Errorf("the report of orders came to %+v", unit.Tests)
	}

	second := w.publish(shop[1], orders[0], tally[0], leaflet[0])
	again := w.ends(second, 8*time.Minute)
	for i := 1; i < len(second); i++ {
		before, after := w.delivered(facts[first[i]]), w.delivered(again[second[i]])
		if before.Image != after.Image || before.ReleaseStatement == after.ReleaseStatement {
			t.Errorf("%s was released as %s and as %s, want the same image and another statement", after.App, before.Image, after.Image)
		}
	}
	tested := w.delivered(again[second[0]]).Tested
	w.checkReuse(tested, first[0])
	if s := step(t, tested.Tests, "integration"); s.Tests == nil || s.Tests.Passed < 10 || s.Coverage == nil {
		t.Errorf("a verdict without what it rests on: %+v", s)
	}
}

// needs makes sure that the engine has what examples need besides the usual.
func (w *world) needs(refs ...string) {
	w.t.Helper()
	e, err := container.Connect(w.t.Context(), container.Config{Instance: w.instance, Warm: -1})
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	for _, ref := range refs {
		if _, err := e.Resolve(w.t.Context(), ref, container.PullMissing); err == nil {
			continue
		}
		if _, err := standin.Make(w.t.Context(), e, ref, io.Discard); err != nil {
			w.t.Fatal(err)
		}
	}
}

// delivered wants a delivery to have gone all the way, and what runs to be what was
// built. It returns the last fact.
func (w *world) delivered(facts []event.Fact) event.Fact {
	w.t.Helper()
	last := facts[len(facts)-1]
	if got := path(facts); got != delivered {
		w.t.Fatalf("delivery %d of %s: %s: %s", last.Number, last.App, got, last.Reason)
	}
	w.checkChain(last)
	w.checkRunning(last)
	return last
}

// checkShop wants the facts to tell what the tests of shop told.
func (w *world) checkShop(tested event.Tested) {
	w.t.Helper()
	for _, name := range []string{"unit[tz=UTC]", "unit[tz=Asia/Tokyo]", "integration"} {
		if s := step(w.t, tested.Tests, name); s.Reused != nil || s.Tests == nil || s.Tests.Passed < 10 || s.Tests.Failed > 0 {
			w.t.Errorf("step %s: %+v, its report %+v", name, s, s.Tests)
		}
	}
	if c := step(w.t, tested.Tests, "integration").Coverage; c == nil || c.Wanted != 70 || c.Percent < c.Wanted {
		w.t.Errorf("coverage %+v", c)
	}
}

// checkReuse wants every test's verdict to be that of an earlier delivery.
func (w *world) checkReuse(tested event.Tested, from uint64) {
	w.t.Helper()
	for _, s := range tested.Tests {
		if s.Reused == nil || s.Reused.Number != from {
			w.t.Errorf("step %s of delivery %d is not that of delivery %d: %+v", s.Name, tested.Number, from, s)
		}
	}
}

func step(t *testing.T, steps []event.Step, name string) event.Step {
	t.Helper()
	var names []string
	for _, s := range steps {
		if s.Name == name {
			return s
		}
		names = append(names, s.Name)
	}
	t.Fatalf("steps %v, want %s among them", names, name)
	return event.Step{}
}

func ask(t *testing.T, url string) string {
	t.Helper()
	answer, err := http.Get(url) //nolint:noctx // the test's own app
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
