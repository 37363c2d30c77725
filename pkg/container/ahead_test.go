package container

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"
)

func ahead(c *Config) { c.Ahead = Ahead{Networks: 1, Host: "app"} }

// awaitReady waits until the network that is kept ready is there.
func awaitReady(t *testing.T, e *Engine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for len(e.ready.warm) == 0 {
		if !sleep(ctx, 10*time.Millisecond) {
			t.Fatal("nothing is made ahead")
		}
	}
}

// serve is a web server that tells who it is.
func serve(text string) Service {
	return Service{
		Name: "app", Image: shellImage,
		Command: []string{"sh", "-c", "mkdir /www; echo " + text + " >/www/index.html; exec httpd -f -p 8080 -h /www"},
		Ready:   &Probe{HTTP: ":8080/"},
	}
}

// A session takes the network that was made ahead, with the namespaces on it; its steps
// reach all services of the name; and afterwards nothing is left.
func TestNetworkMadeAhead(t *testing.T) {
	t.Parallel()
	e := connect(t, ahead)
	awaitReady(t, e)
	made := <-e.ready.warm
	e.ready.warm <- made
	s := open(t, e, Private)
	if s.network != made.network {
		t.Errorf("the session has network %s, want %s, which was ready", s.network, made.network)
	}
	var at []string
	for _, text := range []string{"one", "two"} {
		r, err := s.Service(t.Context(), serve(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Refresh(t.Context()); err != nil || len(r.Addresses) != 1 {
			t.Fatalf("%s is reached at %v, %v", text, r.Addresses, err)
		}
		at = append(at, r.Addresses[s.network])
	}
	if at[0] == at[1] || slices.Contains(at, "") {
		t.Errorf("two services are reached at %v, want a namespace each", at)
	}
	out, _ := run(t, s, Step{Network: true, Run: []string{"nslookup app; for i in 1 2 3 4 5 6 7 8 9 10; do wget -q -O - http://app:8080/; done"}})
	for _, want := range append(at, "one", "two") {
		if !strings.Contains(out, want) {
			t.Errorf("a step finds no %s under the name app:\n%s", want, out)
		}
	}
	s.Close(t.Context())
	if err := s.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	mustLeaveNothing(t, e.cfg.Instance)
}

// Each network is used once, and one whose containers have died not at all.
func TestNetworkMadeAheadIsFresh(t *testing.T) {
	t.Parallel()
	e := connect(t, ahead)
	awaitReady(t, e)
	dead := <-e.ready.warm
	e.signal(t.Context(), dead.host, "KILL")
	if r, err := e.Find(t.Context(), dead.host); err != nil {
		t.Fatal(err)
	} else if _, err := r.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.ready.warm <- dead
	first := open(t, e, Private)
	awaitReady(t, e)
	second := open(t, e, Private)
	if first.network == dead.network || second.network == dead.network || first.network == second.network {
		t.Errorf("sessions have the networks %s and %s, after %s was broken", first.network, second.network, dead.network)
	}
	if sealed := open(t, e, Sealed); sealed.host != "" {
		t.Error("a sealed session has a network that is not sealed")
	}
}

// What lingers after its session is gone when the engine closes, however long it might.
func TestLinger(t *testing.T) {
	t.Parallel()
	e := connect(t, func(c *Config) { c.Linger = time.Hour })
	s := open(t, e, Private)
	run(t, s, Step{Network: true, Run: []string{"true"}})
	s.Close(t.Context())
	if _, err := e.Find(t.Context(), s.lanes[0].pause); err != nil {
		t.Errorf("the network was removed at once: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	mustLeaveNothing(t, e.cfg.Instance)
}
