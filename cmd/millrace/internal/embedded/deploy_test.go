package embedded

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/event"
)

// page writes an app that serves one page, and asks for it in its tests. With %s in
// the file, more of it can be said.
func page(text string, changes ...string) func(dir string) {
	file := strings.NewReplacer(changes...).Replace(pageFile)
	return func(dir string) {
		for name, content := range map[string]string{"millrace.yaml": file, "www/index.html": text + "\n"} {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				panic(err)
			}
			if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
				panic(err)
			}
		}
	}
}

const pageFile = `version: 1
name: page
defaults: { image: "busybox:1.37" }
test:
  unit: { run: "grep -q . www/index.html" }
build:
  run: mkdir dist && cp -R www dist/www && cp /bin/busybox dist/
  artifacts: [dist/**]
release:
  image: page
  base: scratch
  files: { dist/: / }
  entrypoint: [/busybox, httpd, -f, -p, "8080", -h, /www]
  ports: [8080]
  ready: { http: ":8080/", within: 20s }
  acceptance:
    page: { run: "wget -q -O - http://app:8080/ | grep -q ." }
deploy:
  - name: production
    docker: { publish: ["PORT"] }
    check: [{ http: ":8080/index.html", within: 10s }]
`

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// On a fixed port of the host one release follows the other; one that does not pass
// its check never takes the place of what runs; and what came first gets no turn
// after what came later.
func TestDeploy(t *testing.T) {
	w := start(t, "busybox:1.37")
	port := freePort(t)
	publish := "127.0.0.1:" + port + ":8080"
	url := "http://127.0.0.1:" + port + "/index.html"

	first := repository(t, "page", page("one", "PORT", publish))
	facts := w.deliver(first)
	one := facts[len(facts)-1]
	if path(facts) != delivered || strings.TrimSpace(get(t, url)) != "one" {
		t.Fatalf("%s: %s", path(facts), one.Reason)
	}

	second := again(t, first, page("two", "PORT", publish))
	facts = w.deliver(second)
	two := facts[len(facts)-1]
	if path(facts) != delivered || strings.TrimSpace(get(t, url)) != "two" || two.Previous != one.Image {
		t.Fatalf("%s: %s; before it ran %s, want %s", path(facts), two.Reason, two.Previous, one.Image)
	}
	w.onlyContainer(two)

	w.stop(two) // as a deployer does that needs its port, and is killed then
	bad := again(t, second, page("three", "PORT", publish, ":8080/index.html", ":8080/nowhere", "within: 10s", "within: 1s"))
	facts = w.deliver(bad)
	three := facts[len(facts)-1]
	if path(facts) != strings.TrimSuffix(delivered, "succeeded")+"failed" || !strings.Contains(three.Reason, "404") {
		t.Errorf("%s: %s", path(facts), three.Reason)
	}
	if got := strings.TrimSpace(get(t, url)); got != "two" {
		t.Errorf("after the failed deployment the app says %q", got)
	}
	w.onlyContainer(two)

	if late := w.late(one); late.Outcome != event.Superseded || !strings.Contains(late.Reason, "came first") {
		t.Errorf("an older release ended as %s: %s", late.Outcome, late.Reason)
	}
	w.onlyContainer(two)
	record, err := w.Bus.Environment(t.Context(), "page", "production")
	if err != nil || record.Current.Number != two.Number || record.Number != three.Number || record.Phase != bus.PhaseFailed || record.History[0].Image != one.Image {
		t.Errorf("record %+v, %v", record, err)
	}
}

// stop stops the container of a deployment.
func (w world) stop(f event.Fact) {
	w.t.Helper()
	apps, err := w.Engine.Apps(w.t.Context(), f.App, f.Environment)
	if err != nil || len(apps) != 1 {
		w.t.Fatalf("%d containers, %v", len(apps), err)
	}
	if err := apps[0].Stop(w.t.Context(), 0); err != nil {
		w.t.Fatal(err)
	}
}

// onlyContainer wants exactly the deployed image to run, in one container.
func (w world) onlyContainer(f event.Fact) {
	w.t.Helper()
	apps, err := w.Engine.Apps(w.t.Context(), f.App, f.Environment)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(apps) != 1 || apps[0].State != "running" || apps[0].Image != f.Image || apps[0].Name != f.Container {
		for _, a := range apps {
			w.t.Logf("%s %s %s", a.Name, a.State, a.Image)
		}
		w.t.Errorf("%d containers of %s, want %s alone", len(apps), f.App, f.Container)
	}
}

// late lets a release of an older delivery arrive at the deployer after all: its
// success at a second environment's name, so that it is not known yet.
func (w world) late(old event.Fact) event.Fact {
	w.t.Helper()
	k := bus.Key{Stage: event.StageDeploy, App: old.App, Number: old.Number, Environment: "before"}
	e := event.Deployed{Released: old.Released, Environment: "before"}
	e.Environments = []string{"before", "production"}
	// The old delivery has its result for production; a new number below the record's has not.
	e.Number, k.Number = 1000, 1000
	w.sign(&e.Released)
	record, err := w.Bus.Environment(w.t.Context(), old.App, "production")
	if err != nil {
		w.t.Fatal(err)
	}
	before := record
	record.Number = 2000
	if record, err = w.Bus.SetEnvironment(w.t.Context(), record); err != nil {
		w.t.Fatal(err)
	}
	if _, _, err := w.Bus.Record(w.t.Context(), k, e, event.Result{StageName: event.StageDeploy, Outcome: event.Succeeded}, nil); err != nil {
		w.t.Fatal(err)
	}
	facts := w.facts(old.App, 1000)
	record.Number = before.Number
	if _, err := w.Bus.SetEnvironment(w.t.Context(), record); err != nil {
		w.t.Fatal(err)
	}
	return facts[len(facts)-1]
}

// The chain holds by digest: the tree tested is what was built from, the artifact's
// files are what the image has, the image released is what runs.
func TestChainByDigest(t *testing.T) {
	w := start(t, "busybox:1.37")
	facts := w.deliver(repository(t, "page", page("one", "PORT", "8080")))
	if path(facts) != delivered {
		t.Fatalf("%s: %s", path(facts), facts[len(facts)-1].Reason)
	}
	last := facts[3]
	for i, f := range facts {
		if f.Snapshot != last.Snapshot || i > 0 && f.Artifact != last.Artifact || i > 1 && f.Image != last.Image {
			t.Errorf("%s speaks of other digests than the last fact", f.StageName)
		}
	}
	for _, ref := range []string{last.Snapshot.Repository + "@" + last.Snapshot.Digest, last.Artifact.Repository + "@" + last.Artifact.Digest, last.Image} {
		if got := w.digest(ref); got != ref[strings.Index(ref, "@")+1:] {
			t.Errorf("the registry has %s for %s", got, ref)
		}
	}
	w.onlyContainer(last)
	// The same commit again gives the same artifact and the same image, by digest.
	facts = w.deliver(last.Commit)
	again := facts[len(facts)-1]
	if again.Snapshot.Digest != last.Snapshot.Digest || again.Artifact.Digest != last.Artifact.Digest || again.Image != last.Image {
		t.Errorf("the same commit gave\n%s\n%s\n%s, before\n%s\n%s\n%s", again.Snapshot.Digest, again.Artifact.Digest, again.Image, last.Snapshot.Digest, last.Artifact.Digest, last.Image)
	}
}

// digest asks the registry what it has.
func (w world) digest(ref string) string {
	w.t.Helper()
	r, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		w.t.Fatal(err)
	}
	d, err := remote.Head(r)
	if err != nil {
		w.t.Fatal(fmt.Errorf("%s: %w", ref, err))
	}
	return d.Digest.String()
}
