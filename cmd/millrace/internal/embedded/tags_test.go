package embedded

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/store"
)

// The tag of a version never moves. Others do, and only forward: a release that comes
// late leaves them to the newer one.
func TestTags(t *testing.T) {
	w := start(t, "busybox:1.37")
	tagged := func(text, tags string) func(string) {
		return page(text, "PORT", "8080", "  acceptance:", "  tags: ["+tags+"]\n  acceptance:")
	}
	first := repository(t, "page", tagged("one", `latest, "${short}"`))
	one := w.deliver(first)
	gap := w.deliver(event.Commit{App: "gap", Repository: "file:///nowhere", Hash: first.Hash}) // takes a number between
	second := again(t, first, tagged("two", `latest, "${short}", 1.0.0`))
	two := w.deliver(second)
	if path(one) != delivered || path(two) != delivered {
		t.Fatalf("%s, %s: %s", path(one), path(two), two[len(two)-1].Reason)
	}
	newest := two[2].Image

	late := w.released(one[1].Built, gap[0].Number)
	if late.Outcome != event.Succeeded || !slices.Equal(late.Tags, []string{one[0].Short()}) {
		t.Errorf("an older release ended as %s with tags %q: %s", late.Outcome, late.Tags, late.Reason)
	}
	if got := w.tagged("page:latest"); got != newest {
		t.Errorf("latest is %s, want %s", got, newest)
	}

	third := w.deliver(again(t, second, tagged("three", "latest, 1.0.0")))
	last := third[len(third)-1]
	if last.StageName != event.StageRelease || last.Outcome != event.Refused || !strings.Contains(last.Reason, "1.0.0 stands for") {
		t.Errorf("another image for a version: %s: %s", path(third), last.Reason)
	}
	if got := w.tagged("page:latest"); got != newest {
		t.Errorf("after a refused release latest is %s, want %s", got, newest)
	}
}

// An attempt that published its image and did not live to tell is believed by the next
// one, also where the image would be another one today.
func TestPublishedBefore(t *testing.T) {
	w := start(t, "busybox:1.37")
	numbered := func(text string) func(string) {
		return page(text, "PORT", "8080", "  acceptance:", "  tags: [\"r-${number}\"]\n  acceptance:")
	}
	first := repository(t, "page", numbered("one"))
	one := w.deliver(first)
	gap := w.deliver(event.Commit{App: "gap", Repository: "file:///nowhere", Hash: first.Hash})[0].Number
	two := w.deliver(again(t, first, numbered("two")))
	if path(one) != delivered || path(two) != delivered {
		t.Fatalf("%s, %s: %s", path(one), path(two), two[len(two)-1].Reason)
	}
	before := one[2].Released
	before.Number, before.Image, before.Accepted = gap, two[2].Image, two[0].Accepted.Add(time.Second)
	tag := fmt.Sprintf("r-%d", gap)
	w.sign(&before, tag)
	if err := w.store().Tag(t.Context(), before.Image, store.Tag{Name: tag}); err != nil {
		t.Fatal(err)
	}
	built := one[1].Built
	built.Accepted = before.Accepted
	got := w.released(built, gap)
	if got.Outcome != event.Succeeded || got.Image != before.Image || got.ReleaseStatement != before.ReleaseStatement || !maps.Equal(got.SBOMs, before.SBOMs) || len(got.Acceptance) != 1 {
		t.Errorf("%s: %s: image %s, want %s; %+v", got.Outcome, got.Reason, got.Image, before.Image, got.Acceptance)
	}
}

// released lets an artifact be released as a delivery of its own.
func (w world) released(b event.Built, number uint64) event.Fact {
	w.t.Helper()
	b.Number = number
	w.signBuilt(&b)
	k := bus.Key{Stage: event.StageBuild, App: b.App, Number: number}
	if _, _, err := w.Bus.Record(w.t.Context(), k, b, event.Result{StageName: event.StageBuild, Outcome: event.Succeeded}, nil); err != nil {
		w.t.Fatal(err)
	}
	for _, f := range w.facts(b.App, number) {
		if f.StageName == event.StageRelease {
			return f
		}
	}
	w.t.Fatal("it was not released")
	return event.Fact{}
}

// tagged is the image that a tag of the installation's registry stands for.
func (w world) tagged(ref string) string {
	w.t.Helper()
	digest, err := w.store().Digest(w.t.Context(), w.Registry+"/"+ref)
	if err != nil {
		w.t.Fatal(err)
	}
	name, _, _ := strings.Cut(ref, ":")
	return w.Registry + "/" + name + "@" + digest
}
