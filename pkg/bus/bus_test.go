package bus_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/bus/bustest"
	"github.com/millrace-cd/millrace/pkg/event"
)

var commit = event.Commit{App: "shop", Repository: "https://example.com/shop.git", Hash: strings.Repeat("a", 40)}

func TestNumbersCount(t *testing.T) {
	b := bustest.New(t)
	for want := uint64(1); want <= 3; want++ { // also the same commit again: each event is a delivery
		got, err := b.Publish(t.Context(), commit, nil)
		if err != nil || got != want {
			t.Fatalf("delivery %d, want %d: %v", got, want, err)
		}
	}
	e, err := b.Commit(t.Context(), 2)
	if err != nil || e.Address.Number != 2 || e.Address.App != "shop" {
		t.Errorf("got %+v, %v", e.Address, err)
	}
	if _, err := b.Commit(t.Context(), 9); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
	if _, err := b.Publish(t.Context(), event.Commit{App: "Shop"}, nil); err == nil {
		t.Error("an app that is no token was published")
	}
}

// Of eight writers with eight outcomes one wins, and all learn who; on one server
// and on three.
func TestRecordOnce(t *testing.T) {
	for _, servers := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d servers", servers), func(t *testing.T) {
			buses := writers(t, servers, 8)
			for round := range uint64(10) {
				k := bus.Key{Stage: "deploy", App: "shop", Number: round + 1, Environment: "production"}
				firsts, winners := race(t, buses, k)
				if firsts != 1 || len(winners) != 1 {
					t.Fatalf("round %d: %d were first, %v stand", round, firsts, winners)
				}
			}
		})
	}
}

func writers(t *testing.T, servers, n int) (buses []*bus.Bus) {
	t.Helper()
	all := []*server.Server{}
	if servers == 1 {
		all = append(all, bustest.Server(t))
	} else {
		all = bustest.Cluster(t)
	}
	set := bustest.Settings()
	set.Replicas = servers
	for i := range n {
		buses = append(buses, bustest.Connect(t, all[i%servers]))
	}
	bustest.Provision(t, buses[0], set)
	return buses
}

func race(t *testing.T, buses []*bus.Bus, k bus.Key) (firsts int, winners map[string]bool) {
	t.Helper()
	outcomes := []event.Outcome{event.Succeeded, event.Failed, event.Errored, event.Cancelled}
	winners = map[string]bool{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for i, b := range buses {
		all.Go(func() {
			r := event.Result{StageName: k.Stage, Outcome: outcomes[i%len(outcomes)], Worker: fmt.Sprint(i), Attempt: 1}
			fact, first, err := b.Record(t.Context(), k, event.Deployed{Environment: "production"}, r, nil)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if first {
				firsts++
			}
			winners[fact.Worker+" "+string(fact.Outcome)] = true
		})
	}
	all.Wait()
	return firsts, winners
}

// The server itself refuses a second result, also from who does not ask first.
func TestServerKeepsFacts(t *testing.T) {
	s := bustest.Server(t)
	b := bustest.Connect(t, s)
	bustest.Provision(t, b, bustest.Settings())
	js, err := jetstream.New(bustest.Dial(t, s))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "delivery.test.succeeded.shop.1", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "delivery.test.succeeded.shop.1", []byte("{}")); err == nil {
		t.Error("a fact was written twice")
	}
	stream, err := js.Stream(t.Context(), bus.Deliveries)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.DeleteMsg(t.Context(), 1); err == nil {
		t.Error("a fact was deleted")
	}
	if err := stream.Purge(t.Context()); err == nil {
		t.Error("facts were purged")
	}
}

func TestProvisionAgain(t *testing.T) {
	b := bustest.New(t)
	n, err := b.Publish(t.Context(), commit, nil)
	if err != nil {
		t.Fatal(err)
	}
	bustest.Provision(t, b, bustest.Settings())
	if err := b.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := b.Commit(t.Context(), n); err != nil {
		t.Errorf("provisioning again lost a commit: %v", err)
	}
}

func TestNotProvisioned(t *testing.T) {
	b := bustest.Connect(t, bustest.Server(t))
	if err := b.Ready(t.Context()); !errors.Is(err, bus.ErrNotProvisioned) || !strings.Contains(err.Error(), "millrace provision") {
		t.Errorf("got %v, want what to do", err)
	}
	if _, err := b.Consume(t.Context(), event.StageTest); !errors.Is(err, bus.ErrNotProvisioned) {
		t.Errorf("got %v", err)
	}
}

// What a step prints comes back whole, in order, with its sum.
func TestLogIsComplete(t *testing.T) {
	b := bustest.New(t)
	log := b.Log(t.Context(), bus.LogKey{Stage: "test", App: "shop", Number: 1, Step: "unit[go=1.26]", Attempt: 1, Try: 1}, nil)
	r := rand.New(rand.NewPCG(1, 2))
	var want bytes.Buffer
	for want.Len() < 300<<10 {
		p := make([]byte, r.IntN(70<<10))
		for i := range p {
			p[i] = byte(r.Uint32())
		}
		want.Write(p)
		if _, err := log.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close("success"); err != nil {
		t.Fatal(err)
	}
	got, end := readLog(t, b, "log.test.shop.1.unit-go-1-26")
	sum := sha256.Sum256(want.Bytes())
	if !bytes.Equal(got, want.Bytes()) || end.Header.Get(bus.LogSum) != hex.EncodeToString(sum[:]) || end.Header.Get(bus.LogBytes) != fmt.Sprint(want.Len()) {
		t.Errorf("stored %d bytes, %s says %s; printed %d", len(got), end.Subject, end.Header.Get(bus.LogBytes), want.Len())
	}
	if end.Header.Get(bus.LogStep) != "unit[go=1.26]" || end.Header.Get(bus.LogEnd) != "success" {
		t.Errorf("headers %v", end.Header)
	}
}

// More than the limit is counted and summed, but not kept.
func TestLogLimit(t *testing.T) {
	b := bustest.New(t)
	log := b.Log(t.Context(), bus.LogKey{Stage: "test", App: "shop", Number: 1, Step: "x", Attempt: 1, Try: 1}, nil)
	chunk := bytes.Repeat([]byte("x"), 1<<20)
	sum := sha256.New()
	for range bus.MaxLog>>20 + 3 {
		sum.Write(chunk)
		_, _ = log.Write(chunk)
	}
	if err := log.Close("success"); err != nil {
		t.Fatal(err)
	}
	got, end := readLog(t, b, "log.test.shop.1.x")
	if len(got) != bus.MaxLog || end.Header.Get(bus.LogEnd) != "truncated" || end.Header.Get(bus.LogBytes) != fmt.Sprint(bus.MaxLog+3<<20) || end.Header.Get(bus.LogSum) != hex.EncodeToString(sum.Sum(nil)) {
		t.Errorf("kept %d bytes, end %v", len(got), end.Header)
	}
}

// Logs that share a budget keep no more than that together.
func TestLogBudget(t *testing.T) {
	b := bustest.New(t)
	budget := bus.NewBudget(100)
	kept := 0
	for _, step := range []string{"a", "b"} {
		log := b.Log(t.Context(), bus.LogKey{Stage: "test", App: "shop", Number: 1, Step: step, Attempt: 1, Try: 1}, budget)
		for range 7 {
			_, _ = log.Write([]byte("0123456789"))
		}
		if err := log.Close("success"); err != nil {
			t.Fatal(err)
		}
		data, end := readLog(t, b, "log.test.shop.1."+step)
		kept += len(data)
		if end.Header.Get(bus.LogBytes) != "70" {
			t.Errorf("%s: counted %s bytes, want 70", step, end.Header.Get(bus.LogBytes))
		}
	}
	if kept != 100 {
		t.Errorf("kept %d bytes, want 100", kept)
	}
}

// A step that prints little and goes on is heard at once.
func TestLogIsLive(t *testing.T) {
	b := bustest.New(t)
	log := b.Log(t.Context(), bus.LogKey{Stage: "test", App: "shop", Number: 1, Step: "x", Attempt: 1, Try: 1}, nil)
	_, _ = log.Write([]byte("hello"))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	heard := ""
	err := b.Follow(ctx, bus.Logs, []string{"log.>"}, func(e bus.Entry) error { heard = string(e.Data); return bus.ErrStopped })
	if err != nil || heard != "hello" {
		t.Errorf("heard %q before the end: %v", heard, err)
	}
	_ = log.Close("success")
}

func readLog(t *testing.T, b *bus.Bus, subject string) (data []byte, end bus.Entry) {
	t.Helper()
	err := b.Read(t.Context(), bus.Logs, []string{subject}, func(e bus.Entry) error {
		data, end = append(data, e.Data...), e
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return data, end
}

// What is not of our writing stops nobody: neither a reader nor a stage.
func TestForeignMessages(t *testing.T) {
	s := bustest.Server(t)
	b := bustest.Connect(t, s)
	bustest.Provision(t, b, bustest.Settings())
	nc := bustest.Dial(t, s)
	for _, subject := range []string{"progress.a.b", "log.x", "delivery.test.succeeded.shop.x", "delivery.test.succeeded.shop.7"} {
		if err := nc.Publish(subject, []byte("nonsense")); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, stream := range []string{bus.Progress, bus.Logs} {
		if err := b.Read(t.Context(), stream, nil, func(bus.Entry) error { return errors.New("it was handed out") }); err != nil {
			t.Errorf("%s: %v", stream, err)
		}
	}
	feed, err := b.Consume(t.Context(), event.StageBuild)
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Stop()
	if msg, err := feed.Next(); err != nil || msg.Address.Number != 7 {
		t.Errorf("got %+v, %v", msg.Address, err)
	}
	f, found, err := b.Result(t.Context(), bus.Key{Stage: "test", App: "shop", Number: 7})
	if err != nil || !found || f.Outcome != event.Succeeded {
		t.Errorf("got %+v, %t, %v", f, found, err)
	}
}

func TestReadAndFollow(t *testing.T) {
	b := bustest.New(t)
	publish := func() {
		if _, err := b.Publish(t.Context(), commit, nil); err != nil {
			t.Error(err)
		}
	}
	if err := b.Read(t.Context(), bus.Commits, []string{"commit.>"}, func(bus.Entry) error { return errors.New("there is nothing") }); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		publish()
	}
	var read []uint64
	if err := b.Read(t.Context(), bus.Commits, []string{"commit.shop"}, func(e bus.Entry) error { read = append(read, e.Address.Number); return nil }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]uint64{1, 2, 3}, read); diff != "" {
		t.Error(diff)
	}
	var followed []uint64
	err := b.Follow(t.Context(), bus.Commits, []string{"commit.shop"}, func(e bus.Entry) error {
		followed = append(followed, e.Address.Number)
		switch len(followed) {
		case 3:
			publish() // comes while we follow
		case 4:
			return bus.ErrStopped
		}
		return nil
	})
	if err != nil || len(followed) != 4 {
		t.Errorf("followed %v, %v", followed, err)
	}
}

func TestEnvironmentIsAFence(t *testing.T) {
	b := bustest.New(t)
	first, err := b.Environment(t.Context(), "shop", "production")
	if err != nil {
		t.Fatal(err)
	}
	second := first
	first.Number, second.Number = 7, 6
	if first, err = b.SetEnvironment(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if _, err := b.SetEnvironment(t.Context(), second); !errors.Is(err, bus.ErrConflict) {
		t.Errorf("an older state overwrote a newer one: %v", err)
	}
	if _, err := b.SetEnvironment(t.Context(), first.Replace(bus.Running{Number: 7, Image: "a"})); err != nil {
		t.Errorf("the state that was just written could not be changed: %v", err)
	}
	all, err := b.Environments(t.Context())
	if err != nil || len(all) != 1 || all[0].Current.Image != "a" || all[0].Number != 7 {
		t.Errorf("got %+v, %v", all, err)
	}
}

func TestReplaceRemembers(t *testing.T) {
	var e bus.Environment
	for n := range uint64(15) {
		e = e.Replace(bus.Running{Number: n + 1})
	}
	if e.Current.Number != 15 || len(e.History) != 10 || e.History[0].Number != 14 {
		t.Errorf("current %d, history %v", e.Current.Number, e.History)
	}
	if again := e.Replace(bus.Running{Number: 15}); len(again.History) != 10 || again.History[0].Number != 14 {
		t.Error("the same release again is in its own history")
	}
}

func TestLease(t *testing.T) {
	b := bustest.New(t)
	first, held, err := b.Acquire(t.Context(), "deploy.shop.production", "first")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Acquire(t.Context(), "deploy.shop.production", "second"); !errors.Is(err, bus.ErrHeld) {
		t.Fatalf("two hold one lease: %v", err)
	}
	waited := ""
	got := make(chan *bus.Lease)
	waiting := make(chan struct{})
	go func() {
		l, _, err := b.AcquireWhenFree(t.Context(), "deploy.shop.production", "second", func(by string) { waited = by; close(waiting) })
		if err != nil {
			t.Error(err)
		}
		got <- l
	}()
	<-waiting
	first.Release(t.Context())
	second := <-got
	if waited != "first" || held.Err() != nil {
		t.Errorf("waited for %q; the holder's context: %v", waited, held.Err())
	}
	first.Release(t.Context()) // again, and too late: it is not ours any more
	if by, err := b.Holder(t.Context(), "deploy.shop.production"); err != nil || by != "second" {
		t.Errorf("held by %q: %v", by, err)
	}
	second.Release(t.Context())
}

func TestParseSubject(t *testing.T) {
	tests := []struct {
		subject string
		want    bus.Address
		bad     bool
	}{
		{"commit.shop", bus.Address{Kind: "commit", App: "shop"}, false},
		{"commit.a.b", bus.Address{Kind: "commit", App: "a.b"}, false},
		{"delivery.test.succeeded.shop.12", bus.Address{Kind: "delivery", Stage: "test", What: "succeeded", App: "shop", Number: 12}, false},
		{"delivery.deploy.failed.shop.12.prod", bus.Address{Kind: "delivery", Stage: "deploy", What: "failed", App: "shop", Number: 12, Environment: "prod"}, false},
		{"progress.test.started.shop.1", bus.Address{Kind: "progress", Stage: "test", What: "started", App: "shop", Number: 1}, false},
		{"log.test.shop.1.unit", bus.Address{Kind: "log", Stage: "test", App: "shop", Number: 1, Step: "unit"}, false},
		{"delivery.test.succeeded.shop", bus.Address{}, true},
		{"delivery.test.succeeded.shop.x", bus.Address{}, true},
		{"something.else", bus.Address{}, true},
	}
	for _, tt := range tests {
		got, err := bus.ParseSubject(tt.subject)
		if (err != nil) != tt.bad {
			t.Errorf("%s: %v", tt.subject, err)
		}
		if diff := cmp.Diff(tt.want, got); err == nil && diff != "" {
			t.Errorf("%s: %s", tt.subject, diff)
		}
	}
}

func TestToken(t *testing.T) {
	for in, want := range map[string]string{"unit": "unit", "unit[go=1.26]": "unit-go-1-26", "Ünï": "n", "///": "x", "A b": "a-b", strings.Repeat("x", 80): strings.Repeat("x", 63)} {
		if got := bus.Token(in); got != want || !bus.IsToken(got) {
			t.Errorf("Token(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestCarrierReadsAnyCase(t *testing.T) {
	c := bus.Carrier{"Traceparent": {"a"}}
	if c.Get("traceparent") != "a" {
		t.Error("a header written by another client is not found")
	}
	c.Set("TraceState", "b")
	if c["tracestate"][0] != "b" {
		t.Error("headers are not written in lower case")
	}
}
