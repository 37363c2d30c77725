package delivery

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/event"
)

func TestLogs(t *testing.T) {
	w := newWorld(t)
	n := w.commit("shop")
	w.print(n, "test", "unit[go=1.26]", 1, "one\n")
	w.print(n, "test", "unit-go-1-26", 1, "another\n") // the same token
	w.print(n, "build", "build", 1, "lost\n")
	w.print(n, "build", "build", 2, "\x1b[31mtwo\x1b[0m\nthree\nfour")
	tests := []struct {
		name  string
		which Which
		want  string
	}{
		{"all", Which{}, "one\nanother\nlost\n\x1b[31mtwo\x1b[0m\nthree\nfour"},
		{"stage", Which{Stage: "test"}, "one\nanother\n"},
		{"step", Which{Step: "unit[go=1.26]"}, "one\n"},
		{"token", Which{Step: "unit-go-1-26"}, "one\nanother\n"},
		{"nothing", Which{Stage: "deploy"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if err := Logs(t.Context(), w.bus, n, tt.which, false, func(c Chunk) error { got += string(c.Data); return nil }); err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	lines, total, err := Tail(t.Context(), w.bus, n, Which{Stage: "build", Step: "build"}, 2)
	if err != nil || total != 3 || !slices.Equal(lines, []string{"three", "four"}) {
		t.Errorf("tail: %q of %d: %v", lines, total, err)
	}
	if err := Logs(t.Context(), w.bus, 99, Which{}, false, nil); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("delivery 99: %v", err)
	}
}

func (w world) print(n uint64, stage, step string, attempt int, text string) {
	w.Helper()
	l := w.bus.Log(w.Context(), bus.LogKey{Stage: stage, App: "shop", Number: n, Step: step, Attempt: attempt, Try: 1}, nil)
	if _, err := l.Write([]byte(text)); err != nil {
		w.Fatal(err)
	}
	if err := l.Close(event.ResultSuccess); err != nil {
		w.Fatal(err)
	}
}

// TestFollowLogsOfTheEnded follows what is over: all is there to be read, once.
func TestFollowLogsOfTheEnded(t *testing.T) {
	w := newWorld(t)
	n := w.commit("shop")
	const logs = 50
	for i := range logs {
		w.print(n, "test", "unit", 1, fmt.Sprintln(i))
	}
	w.record("shop", n, "test", "", event.Failed, "red")
	chunks := 0
	if err := Logs(t.Context(), w.bus, n, Which{}, true, func(Chunk) error { chunks++; return nil }); err != nil {
		t.Fatal(err)
	}
	if chunks != 2*logs {
		t.Errorf("got %d chunks, want %d", chunks, 2*logs)
	}
}

func TestFollowLogs(t *testing.T) {
	w := newWorld(t)
	n := w.commit("shop")
	w.print(n, "test", "unit", 1, "before\n")
	var got []string
	seen, done := make(chan struct{}, 8), make(chan error, 1)
	go func() {
		done <- Logs(t.Context(), w.bus, n, Which{}, true, func(c Chunk) error {
			got = append(got, string(c.Data)+c.End)
			seen <- struct{}{}
			return nil
		})
	}()
	<-seen
	w.print(n, "test", "unit", 1, "meanwhile\n")
	w.record("shop", n, "test", "", event.Failed, "red")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	want := []string{"before\n", "success", "meanwhile\n", "success"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
