package embedded

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/event"
)

// gateFile is an app whose release and acceptance stay where the secret GATE says.
const gateFile = `version: 1
name: NAME
defaults: { image: "busybox:1.37" }
test:
  unit: { run: "true" }
build:
  run: mkdir dist && echo NAME > dist/index.html
  artifacts: [dist/index.html]
release:
  image: NAME
  tags: [TAGS]
  base: busybox:1.37
  files: { dist/: /www/ }
MORE
  entrypoint: [sh, -ec, 'test "$GATE" != hold-start || sleep 600; exec httpd -f -p 8080 -h /www']
  ready: { http: ":8080/", within: 120s }
  environment: { secrets: [GATE] }
  acceptance:
    page:
      secrets: [GATE]
      run: |
        echo begun
        test "$GATE" != hold-begun || sleep 600
        wget -q -O - http://app:8080/ | grep -qx NAME
        echo passed
        test "$GATE" != hold-passed || sleep 600
`

// installs makes a layer of what a command leaves in a container.
const installs = "  install: mkdir /installed && cp /artifact/dist/index.html /installed/\n"

// What a release has left behind, one after the other.
const (
	nothing = iota
	imageStored
	imagePublished // without a name
	tagged
	told
)

// point is where the releaser is killed while it works on an app of that name.
type point struct {
	app   string
	tags  []string // besides that of the commit
	more  string   // lines of its release
	left  int      // what the release has left behind there
	gate  string   // how the app itself makes the release stop there
	stop  func(app string) *hold
	wire  bool // the fact is lost on its way to the bus
	reply bool // the bus's answer is lost on its way back
}

// points are before and after each of six steps of a release. The first of them have left
// their environments before the others keep theirs: an engine has room for some thirty
// networks, and it is not ours alone.
var points = [][]point{
	{
		{app: "before-fact", left: tagged, wire: true},
		{app: "after-fact", left: told, wire: true, reply: true},
		{app: "before-tag", tags: []string{"latest"}, left: imagePublished, stop: func(app string) *hold { return newHold(puts(app, false)) }},
		{app: "after-tag", tags: []string{"latest"}, left: tagged, stop: func(app string) *hold { return newHold(puts(app, false)).afterwards() }},
		{app: "before-manifest", left: imageStored, stop: func(app string) *hold { return newHold(puts(app, true)) }},
		{app: "after-manifest", more: installs, left: imagePublished, stop: func(app string) *hold { return newHold(puts(app, true)).afterwards() }},
		{app: "after-passed", left: imageStored, stop: func(app string) *hold {
			return newHold(func(q request) bool { return q.method == http.MethodHead && q.repository == app && q.byDigest() })
		}},
	},
	{
		{app: "before-passed", left: imageStored, gate: "hold-passed"},
		{app: "after-up", left: imageStored, gate: "hold-begun"},
		{app: "before-up", left: imageStored, gate: "hold-start"},
		{app: "after-image", more: installs, left: imageStored, stop: func(app string) *hold { return newHold(puts(internal(app), true)).afterwards() }},
		{app: "before-image", stop: func(app string) *hold { return newHold(puts(internal(app), true)) }},
	},
}

func internal(app string) string { return "millrace/" + app + "/image" }

func (h *hold) afterwards() *hold { h.after = true; return h }

// A releaser that works on twelve deliveries is killed when each of them is at another
// point of its release. Whoever comes next brings all of them to their end, with one fact
// and one published image each, and nothing that was made for them stays on the engine.
func TestKilledReleaser(t *testing.T) {
	t.Parallel()
	k := &killing{installation: install(t, 10*time.Second)}
	k.wire = newWire(t, k.NATSURL)
	k.images("busybox:1.37")
	k.secrets = t.TempDir()
	secrets := "MILLRACE_SECRETS_DIR=" + k.secrets

	doomed := k.serve("releaser", "doomed", secrets, "MILLRACE_NATS_URL="+k.wire.address, "MILLRACE_CONCURRENCY=12")
	for _, wave := range points {
		for _, p := range wave {
			k.deliverUntil(p)
		}
		for _, d := range k.deliveries {
			k.awaitPoint(d)
		}
	}
	doomed.kill()
	for _, d := range k.deliveries {
		k.checkLeft(d)
	}
	dead := k.expire(doomed.worker)
	if left := k.objectsOf(dead); len(left) < 6 { // containers and networks of three environments
		t.Errorf("the killed process left %q only: there is little to clean up", left)
	}

	k.openGates()
	next := k.serve("releaser", "next", secrets, "MILLRACE_CONCURRENCY=3")
	k.deceived()
	for _, d := range k.deliveries {
		k.checkReleased(d, next.worker)
	}
	await(t, bus.LeaseTime+time.Minute, "the end of what the killed process left", func() error { return nothingOf(k.objectsOf(dead)) })
	next.end()
	if err := k.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := nothingOf(k.objects()); err != nil {
		t.Errorf("after all have ended: %v", err)
	}
}

func nothingOf(left []string) error {
	if len(left) > 0 {
		return fmt.Errorf("there are\n%s", strings.Join(left, "\n"))
	}
	return nil
}

type killing struct {
	*installation

	wire       *wire
	secrets    string // directory
	deliveries []*atPoint
}

// atPoint is a delivery on its way to where the releaser is killed.
type atPoint struct {
	point
	event.Commit

	hold *hold
	loss *loss
}

// deliverUntil begins a delivery that stops at the point.
func (k *killing) deliverUntil(p point) {
	k.t.Helper()
	d := &atPoint{point: p}
	if p.stop != nil {
		d.hold = k.registry.hold(p.stop(p.app))
	}
	if p.wire {
		d.loss = k.wire.lose("delivery.release.succeeded."+p.app+".", p.reply)
	}
	gate := p.gate
	if gate == "" {
		gate = "open"
	}
	k.setGate(p.app, gate)
	d.Commit = repository(k.t, p.app, func(dir string) {
		tags := strings.Join(append([]string{`"${short}"`}, p.tags...), ", ")
		file := strings.NewReplacer("NAME", p.app, "TAGS", tags, "MORE\n", p.more).Replace(gateFile)
		if err := os.WriteFile(filepath.Join(dir, "millrace.yaml"), []byte(file), 0o644); err != nil {
			k.t.Fatal(err)
		}
	})
	var err error
	if d.Number, err = k.Bus.Publish(k.t.Context(), d.Commit, nil); err != nil {
		k.t.Fatal(err)
	}
	k.deliveries = append(k.deliveries, d)
}

func (k *killing) setGate(app, value string) {
	k.t.Helper()
	name := filepath.Join(k.secrets, app, "GATE")
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(value), 0o600)); err != nil {
		k.t.Fatal(err)
	}
}

func (k *killing) openGates() {
	for _, d := range k.deliveries {
		k.setGate(d.app, "open")
	}
}

// awaitPoint returns when the delivery stands at its point.
func (k *killing) awaitPoint(d *atPoint) {
	k.t.Helper()
	reached := make(chan struct{})
	switch {
	case d.hold != nil:
		reached = d.hold.reached
	case d.loss != nil:
		reached = d.loss.reached
	case d.gate == "hold-start":
		await(k.t, 2*time.Minute, "the release of "+d.app, func() error { return k.runs(d) })
		return
	default:
		go func() { k.printed(d, strings.TrimPrefix(d.gate, "hold-")); close(reached) }()
	}
	select {
	case <-reached:
	case <-time.After(2 * time.Minute):
		facts, err := k.factsNow(d)
		k.t.Fatalf("%s is not where the releaser is to be killed: %+v, %v", d.app, facts, err)
	}
}

// runs tells whether the container of the release runs.
func (k *killing) runs(d *atPoint) error {
	out, err := exec.CommandContext(k.t.Context(), "docker", "ps", "-q", "--filter", "label=millrace.instance="+k.instance,
		"--filter", "label=millrace.app="+d.app, "--filter", "label=millrace.kind=service").Output()
	if err == nil && len(out) == 0 {
		err = errors.New("there is none")
	}
	return err
}

// printed returns when the acceptance of d has printed the word.
func (k *killing) printed(d *atPoint, word string) {
	_ = k.Bus.Follow(k.t.Context(), bus.Logs, []string{fmt.Sprintf("log.release.%s.%d.page", d.app, d.Number)}, func(e bus.Entry) error {
		if strings.Contains(string(e.Data), word) {
			return bus.ErrStopped
		}
		return nil
	})
}

// factsNow are all facts of the delivery's release.
func (k *killing) factsNow(d *atPoint) (facts []event.Fact, err error) {
	err = k.Bus.Read(k.t.Context(), bus.Deliveries, []string{fmt.Sprintf("delivery.release.*.%s.%d", d.app, d.Number)}, func(e bus.Entry) error {
		f, err := event.Decode(e.Data)
		facts = append(facts, f)
		return err
	})
	return facts, err
}

// checkLeft wants the killed release to have left behind what it had done, and no more.
func (k *killing) checkLeft(d *atPoint) {
	k.t.Helper()
	facts, err := k.factsNow(d)
	if err != nil {
		k.t.Fatal(err)
	}
	left := nothing
	for _, there := range []struct {
		is   bool
		left int
	}{
		{len(k.registry.images(internal(d.app))) > 0, imageStored},
		{len(k.registry.images(d.app)) > 0, imagePublished},
		{len(k.tags(d.app)) > 0, tagged},
		{len(facts) > 0, told},
	} {
		if there.is {
			left = there.left
		}
	}
	if left != d.left {
		k.t.Errorf("%s: killed when %d was done, want %d", d.app, left, d.left)
	}
}

// deceived begins a delivery whose tag the registry forgets when it is set first.
func (k *killing) deceived() {
	k.t.Helper()
	k.deliverUntil(point{app: "deceived", stop: func(app string) *hold { h := newHold(puts(app, false)); h.lose = true; return h }})
}

// checkReleased wants the end of the delivery, with one fact and one image.
func (k *killing) checkReleased(d *atPoint, worker string) {
	k.t.Helper()
	all := k.facts(d.app, d.Number)
	last := all[len(all)-1]
	facts, err := k.factsNow(d)
	if err != nil || path(all) != "test:succeeded build:succeeded release:succeeded" || len(facts) != 1 {
		k.t.Fatalf("%s: %s with %d facts of the release, %v: %s", d.app, path(all), len(facts), err, last.Reason)
	}
	if d.left == told {
		worker = "doomed"
	}
	if last.Worker != worker || last.Attempt < 2 && d.left != told {
		k.t.Errorf("%s: released at attempt %d by %s, want a later one than the first by %s", d.app, last.Attempt, last.Worker, worker)
	}
	want := append([]string{d.Short()}, d.tags...)
	if tags := k.tags(d.app); !slices.Equal(last.Tags, want) || !slices.Equal(slices.Sorted(slices.Values(tags)), slices.Sorted(slices.Values(want))) {
		k.t.Fatalf("%s: tags %q, told are %q, want %q alone", d.app, tags, last.Tags, want)
	}
	digest := last.Image[strings.Index(last.Image, "@")+1:]
	for _, repository := range []string{d.app, internal(d.app)} {
		if images := k.registry.images(repository); !slices.Equal(images, []string{digest}) {
			k.t.Errorf("%s has images %q, want %s alone", repository, images, digest)
		}
	}
	refs := []string{d.app + "@" + digest, internal(d.app) + "@" + digest}
	for _, tag := range want {
		refs = append(refs, d.app+":"+tag)
	}
	for _, ref := range refs {
		if got := k.digest(k.Registry + "/" + ref); got != digest {
			k.t.Errorf("%s: the registry has %s for %s, want %s", d.app, got, ref, digest)
		}
	}
}
