package custody

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/olareg/olareg"
	"github.com/olareg/olareg/config"

	"github.com/millrace-cd/millrace/pkg/archive"
	"github.com/millrace-cd/millrace/pkg/attest"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/stage"
	"github.com/millrace-cd/millrace/pkg/store"
)

// world has a registry and keys.
type world struct {
	t     *testing.T
	store *store.Store
	keys  string
	host  string
}

func newWorld(t *testing.T) world {
	t.Helper()
	conf := config.Config{Storage: config.ConfigStorage{StoreType: config.StoreMem}}
	conf.SetDefaults()
	registry := olareg.New(conf)
	server := httptest.NewServer(registry)
	t.Cleanup(func() { server.Close(); _ = registry.Close() })
	w := world{t: t, keys: t.TempDir(), host: strings.TrimPrefix(server.URL, "http://")}
	var err error
	if w.store, err = store.Open(store.Config{Registry: w.host}); err != nil {
		t.Fatal(err)
	}
	if _, err := attest.Init(w.keys, time.Now(), Tester, Builder, Releaser); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w world) clerk(service string) Clerk {
	w.t.Helper()
	keys, err := attest.Open(attest.Config{Dir: w.keys, Service: service})
	if err != nil {
		w.t.Fatal(err)
	}
	return Clerk{Registry: w.store, Keys: keys}
}

func (w world) blob(kind store.Kind, content string) event.Blob {
	w.t.Helper()
	tar, err := archive.Spool(w.t.TempDir(), func(out io.Writer) (archive.Stats, error) {
		_, err := io.WriteString(out, content)
		return archive.Stats{Files: 1, Bytes: int64(len(content))}, err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	b, err := w.store.Put(w.t.Context(), store.Upload{App: "shop", Kind: kind, Tar: tar})
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// delivery is a whole one, signed.
func (w world) delivery() event.Released {
	w.t.Helper()
	img, err := random.Image(10, 1)
	if err != nil {
		w.t.Fatal(err)
	}
	internal, err := w.store.PushImage(w.t.Context(), "shop", img)
	if err != nil {
		w.t.Fatal(err)
	}
	public, err := w.store.Copy(w.t.Context(), internal, w.host+"/shop")
	if err != nil {
		w.t.Fatal(err)
	}
	r := event.Released{Image: public, Acceptance: []event.Step{{Name: "install", Result: event.ResultSuccess, SetUp: true}, {Name: "page", Result: event.ResultSuccess}}, SBOMs: map[string]string{"linux/amd64": DigestOf([]byte("image"))}}
	r.Commit = event.Commit{
		App: "shop", Number: 7, Repository: "https://example.com/shop.git", Hash: strings.Repeat("ab", 20), Ref: "refs/heads/main",
		Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Accepted: time.Date(2026, 1, 2, 4, 0, 0, 5, time.UTC),
	}
	r.Tree, r.Snapshot, r.Environments = strings.Repeat("cd", 20), w.blob(store.Snapshot, "snapshot"), []string{"staging", "production"}
	r.Images = map[string]string{"golang:1.26": "docker.io/library/golang@" + DigestOf([]byte("golang")), "local": DigestOf([]byte("local"))}
	r.Tests = []event.Step{{Name: "unit", Result: event.ResultSuccess}, {Name: "lint", Result: event.ResultFailure, Optional: true}, {Name: "slow", Result: event.ResultSkipped}}
	r.Artifact = w.blob(store.Artifact, "artifact")
	r.Artifact.SBOM = DigestOf([]byte("artifact"))
	r.Platforms = map[string]event.Blob{"linux/amd64": r.Artifact, "linux/arm64": w.blob(store.Artifact, "arm64")}
	err = errors.Join(
		w.clerk(Tester).SignTested(w.t.Context(), &r.Tested), w.clerk(Builder).SignBuilt(w.t.Context(), &r.Built, []string{"golang:1.26"}),
		w.clerk(Releaser).SignReleased(w.t.Context(), &r, internal),
	)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// now is when the events were stored.
func now() time.Time { return time.Now() }

func TestHolds(t *testing.T) {
	w := newWorld(t)
	r := w.delivery()
	deployer := w.clerk("")
	for name, err := range map[string]error{
		"tested": deployer.VerifyTested(t.Context(), r.Tested, now()), "built": deployer.VerifyBuilt(t.Context(), r.Built, now()),
		"released": deployer.VerifyReleased(t.Context(), overTheBus(t, r), now()),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// overTheBus is the event as the next stage reads it.
func overTheBus(t *testing.T, r event.Released) event.Released {
	t.Helper()
	data, err := event.Encode(r, event.Result{StageName: event.StageRelease, Outcome: event.Succeeded})
	if err != nil {
		t.Fatal(err)
	}
	f, err := event.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	return f.Released
}

// The same event is signed in the same bytes, by whoever does the work again.
func TestRepeated(t *testing.T) {
	w := newWorld(t)
	r := w.delivery()
	before := r.TestStatement
	if err := w.clerk(Tester).SignTested(t.Context(), &r.Tested); err != nil {
		t.Fatal(err)
	}
	attached, err := w.store.Attached(t.Context(), at(r.Snapshot), attest.BundleType)
	if err != nil || len(attached) != 1 || r.TestStatement != before {
		t.Errorf("%d statements, %s and %s, %v", len(attached), before, r.TestStatement, err)
	}
}

// Whatever an event says that nobody signed is refused.
func TestRefused(t *testing.T) {
	w := newWorld(t)
	good := w.delivery()
	other := DigestOf([]byte("other"))
	tests := []struct {
		name   string
		change func(r *event.Released)
		want   string
	}{
		{"ref", func(r *event.Released) { r.Ref = "refs/heads/evil" }, `releaser: its ref is "refs/heads/main", not "refs/heads/evil"`},
		{"number", func(r *event.Released) { r.Number++ }, "releaser: its number is 7, not 8"},
		{"commit", func(r *event.Released) { r.Hash = strings.Repeat("1", 40) }, "its commit is"},
		{"time", func(r *event.Released) { r.Time = r.Time.Add(time.Second) }, "its time is"},
		{"untrusted", func(r *event.Released) { r.Untrusted = true }, "its untrusted is false, not true"},
		{"tree", func(r *event.Released) { r.Tree = strings.Repeat("1", 40) }, "tester: its subjects is"},
		{"snapshot", func(r *event.Released) { r.Snapshot.Digest = other }, "tester: its subjects is"},
		{"image of a step", func(r *event.Released) { r.Images = maps.Clone(r.Images); r.Images["local"] = other }, "tester: its images is"},
		{"environments", func(r *event.Released) { r.Environments = []string{"production"} }, "tester: its environments is"},
		{"artifact", func(r *event.Released) { r.Artifact.Digest = other }, "releaser: its artifacts is"},
		{"platform", func(r *event.Released) {
			r.Platforms = map[string]event.Blob{"linux/arm64": r.Platforms["linux/arm64"]}
		}, "releaser: its artifacts is"},
		{"artifact's SBOM", func(r *event.Released) { r.Artifact.SBOM = other }, "builder: its SBOM is"},
		{"image", func(r *event.Released) { r.Image = w.host + "/shop@" + other }, "releaser: it is not about " + other},
		{"repository", func(r *event.Released) { r.Image = "evil.example.com/shop@" + strings.Split(r.Image, "@")[1] }, "releaser: its subjects is"},
		{"SBOM", func(r *event.Released) { r.SBOMs = nil }, "releaser: its SBOM is"},
		{"another app", func(r *event.Released) { r.App = "cart" }, "releaser: "},
		{"accepted", func(r *event.Released) { r.Accepted = r.Accepted.Add(1) }, "its accepted is"},
		{"test statement", func(r *event.Released) { r.TestStatement = other }, "builder: its statement before it is"},
		{"build statement", func(r *event.Released) { r.BuildStatement = r.TestStatement }, "releaser: its statement before it is"},
		{"no statement", func(r *event.Released) { r.ReleaseStatement = "" }, "releaser: there is none"},
		{"a path", func(r *event.Released) { r.ReleaseStatement = "../x" }, `releaser: "../x" is no digest`},
		{"lost statement", func(r *event.Released) { r.ReleaseStatement = other }, "not in the registry"},
		{"statement of the builder", func(r *event.Released) { r.ReleaseStatement = r.BuildStatement }, "not in the registry"},
	}
	for _, tt := range tests {
		r := good
		tt.change(&r)
		err := w.clerk("").VerifyReleased(t.Context(), r, now())
		if outcome, _ := stage.Outcome(err); outcome != event.Refused || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %s, %v; want refused: %s", tt.name, outcome, err, tt.want)
		}
	}
}

// Only the key of the service counts, and only while it is trusted.
func TestKeys(t *testing.T) {
	w := newWorld(t)
	good := w.delivery()
	stranger := newWorld(t)
	wrong := func(service string) Clerk { c := w.clerk(service); c.Registry = w.store; return c }
	strange := stranger.clerk(Tester)
	strange.Registry = w.store
	tests := []struct {
		name string
		sign func(r *event.Released) error
		want string
	}{
		{"unknown key", func(r *event.Released) error { return strange.SignTested(t.Context(), &r.Tested) }, "nobody knows key"},
		{"the builder as tester", func(r *event.Released) error {
			c := wrong(Builder)
			c.Keys = forger{c.Keys}
			return c.SignTested(t.Context(), &r.Tested)
		}, "is of builder, not of tester"},
		{"failed tests", func(r *event.Released) error {
			r.Tests = []event.Step{{Name: "unit", Result: event.ResultFailure}}
			return wrong(Tester).SignTested(t.Context(), &r.Tested)
		}, `ended as "FAILED"`},
	}
	for _, tt := range tests {
		r := good
		if err := tt.sign(&r); err != nil {
			t.Fatal(err)
		}
		if err := w.clerk("").VerifyTested(t.Context(), r.Tested, now()); !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
		}
	}
	if _, err := attest.Rotate(w.keys, Tester, time.Now(), time.Hour); err != nil {
		t.Fatal(err)
	}
	c := w.clerk("")
	if err := c.VerifyTested(t.Context(), good.Tested, now()); err != nil {
		t.Errorf("in the window after a rotation: %v", err)
	}
	if err := c.VerifyTested(t.Context(), good.Tested, now().Add(2*time.Hour)); !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), "was trusted until") {
		t.Errorf("after the window: %v", err)
	}
}

// forger thinks that any key may do anything.
type forger struct{ Keys }

func (f forger) Ring() (attest.Ring, error) {
	ring, err := f.Keys.Ring()
	ring = slices.Clone(ring)
	for i := range ring {
		ring[i].Service = Tester
	}
	return ring, err
}

// A service does not sign what nobody would believe: the delivery waits for its new key.
func TestExpired(t *testing.T) {
	w := newWorld(t)
	good := w.delivery()
	tester := w.clerk(Tester)
	ring, err := attest.Load(w.keys)
	if err != nil {
		t.Fatal(err)
	}
	for i := range ring {
		ring[i].Until = time.Now().Add(-time.Second)
	}
	tester.Keys = expired{tester.Keys, ring}
	err = tester.SignTested(t.Context(), &good.Tested)
	if _, ended := stage.Outcome(err); err == nil || ended || !strings.Contains(err.Error(), "nobody would believe what the tester signs") {
		t.Errorf("got %v", err)
	}
}

type expired struct {
	Keys
	ring attest.Ring
}

func (e expired) Ring() (attest.Ring, error) { return e.ring, nil }

// A verdict that a delivery may take for its own is the tester's, about these inputs.
func TestVerdict(t *testing.T) {
	w := newWorld(t)
	inputs := strings.Repeat("ab", 32)
	passed := Verdict{From: event.Verdict{Number: 7, Commit: "c"}, Step: event.Step{Name: "unit", Result: event.ResultSuccess}}
	sign := func(service, app, inputs string, v Verdict) []byte {
		data, err := w.clerk(service).SignVerdict(app, inputs, v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	tester := w.clerk(Tester)
	if got, err := tester.VerifyVerdict("shop", inputs, sign(Tester, "shop", inputs, passed)); err != nil || got.From != passed.From {
		t.Errorf("got %+v, %v", got, err)
	}
	good := w.delivery()
	tested, err := w.clerk("").bundle("shop")(t.Context(), Tester, good.TestStatement)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"nothing": []byte("{}"), "unsigned": []byte(`{"from":{"number":7},"step":{"name":"unit","result":"success"}}`),
		"by the builder": sign(Builder, "shop", inputs, passed), "of another app": sign(Tester, "cart", inputs, passed),
		"other inputs": sign(Tester, "shop", strings.Repeat("cd", 32), passed), "a failure": sign(Tester, "shop", inputs, Verdict{}),
		"another statement": tested,
	} {
		if got, err := tester.VerifyVerdict("shop", inputs, data); err == nil {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

// A registry that is away is no reason to refuse.
func TestAway(t *testing.T) {
	w := newWorld(t)
	good := w.delivery()
	c := w.clerk("")
	c.Registry = away{w.store}
	err := c.VerifyTested(t.Context(), good.Tested, now())
	if _, ended := stage.Outcome(err); err == nil || ended {
		t.Errorf("got %v", err)
	}
}

type away struct{ Registry }

func (away) Blob(context.Context, string, string, int64) ([]byte, error) {
	return nil, errors.New("no route to host")
}

// The chain of a published image is found and followed with nothing but its registry.
func TestImage(t *testing.T) {
	w := newWorld(t)
	r := w.delivery()
	ring, err := attest.Load(w.keys)
	if err != nil {
		t.Fatal(err)
	}
	links, err := WalkImage(t.Context(), w.store, ring, now(), Image{Name: r.Image})
	if err != nil || len(links) != 3 || links[2].Delivery.Hash != r.Hash || len(links[0].SBOMs) != 1 || len(links[1].SBOMs) != 2 || len(links[0].Results.Passed) != 1 {
		t.Fatalf("%+v, %v", links, err)
	}
	again := r
	again.Number = 8
	err = errors.Join(
		w.clerk(Tester).SignTested(t.Context(), &again.Tested), w.clerk(Builder).SignBuilt(t.Context(), &again.Built, nil),
		w.clerk(Releaser).SignReleased(t.Context(), &again, w.store.Repository("shop", store.Image)+"@"+strings.Split(r.Image, "@")[1]),
	)
	if err != nil {
		t.Fatal(err)
	}
	if links, err = WalkImage(t.Context(), w.store, ring, now(), Image{Name: r.Image}); err != nil || links[0].Delivery.Number != 8 {
		t.Errorf("want the newest delivery: %v", err)
	}
	if _, err := WalkImage(t.Context(), w.store, attest.Ring(nil), now(), Image{Name: r.Image}); !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), "nobody knows key") {
		t.Errorf("without keys: %v", err)
	}
	internal := at(r.Snapshot)
	if _, err := WalkImage(t.Context(), w.store, ring, now(), Image{Name: internal}); !errors.Is(err, ErrBroken) {
		t.Errorf("a snapshot is no release: %v", err)
	}
}

// An image is what it was released as, and has the tags that it was released with.
func TestNames(t *testing.T) {
	w := newWorld(t)
	r := w.delivery()
	ring, err := attest.Load(w.keys)
	if err != nil {
		t.Fatal(err)
	}
	_, digest, _ := strings.Cut(r.Image, "@")
	internal := w.store.Repository("shop", store.Image) + "@" + digest
	if err := w.clerk(Releaser).SignReleased(t.Context(), &r, internal, "1.0.0", "latest"); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		image Image
		want  string
	}{
		{Image{Name: r.Image, Tag: "latest"}, ""},
		{Image{Name: r.Image, Tag: "2.0.0"}, "it was not to be tagged 2.0.0"},
		{Image{Name: r.Image, As: w.host + "/cart"}, "the image was released as " + w.host + "/shop, not as " + w.host + "/cart"},
		{Image{Name: w.host + "/mirror@" + digest}, "nothing that is attached"},
	} {
		if tt.want == "nothing that is attached" {
			if _, err := w.store.Copy(t.Context(), r.Image, w.host+"/mirror"); err != nil {
				t.Fatal(err)
			}
		}
		_, err := WalkImage(t.Context(), w.store, ring, now(), tt.image)
		if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%+v: got %v, want %q", tt.image, err, tt.want)
		}
	}
}

// What is attached by strangers does no harm, whatever it is.
func TestStrangers(t *testing.T) {
	w := newWorld(t)
	r := w.delivery()
	ring, err := attest.Load(w.keys)
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{"", "{}", "not JSON", strings.Repeat("[", 100_000), strings.Repeat("x", attest.MaxBundle+1)} {
		for _, kind := range []string{attest.BundleType, ChainType} {
			if _, err := w.store.Attach(t.Context(), store.Attachment{Subject: r.Image, Type: kind, Layers: []store.Layer{{Type: attest.BundleType, Data: []byte(data)}}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := WalkImage(t.Context(), w.store, ring, now(), Image{Name: r.Image}); err != nil {
		t.Error(err)
	}
}

// The predicates are what other tools read: changing them changes what they say of old
// images.
func TestPredicates(t *testing.T) {
	r := event.Released{Image: "registry.example.com/team/shop@" + DigestOf([]byte("image")), SBOMs: map[string]string{"linux/amd64": DigestOf([]byte("sbom"))}}
	r.Commit = event.Commit{App: "shop", Number: 7, Repository: "https://example.com/shop.git", Hash: strings.Repeat("ab", 20), Ref: "refs/tags/v1.0.0", Accepted: time.Date(2026, 1, 2, 4, 0, 0, 5, time.UTC)}
	r.Tree, r.Images, r.Environments = strings.Repeat("cd", 20), map[string]string{"golang:1.26": "docker.io/library/golang@" + DigestOf([]byte("golang"))}, []string{"production"}
	r.Snapshot = event.Blob{Repository: "registry.example.com/millrace/shop/snapshot", Digest: DigestOf([]byte("snapshot"))}
	r.Artifact = event.Blob{Repository: "registry.example.com/millrace/shop/artifact", Digest: DigestOf([]byte("artifact"))}
	r.Tests = []event.Step{{Name: "unit", Result: event.ResultSuccess}, {Name: "lint", Result: event.ResultFailure, Optional: true}}
	r.TestStatement, r.BuildStatement, r.Artifact.SBOM = DigestOf([]byte("test")), DigestOf([]byte("build")), DigestOf([]byte("files"))
	var all []attest.Statement
	for _, make := range []func() (attest.Statement, error){
		func() (attest.Statement, error) { return ofTested(r.Tested) },
		func() (attest.Statement, error) { return ofBuilt(r.Built, []string{"golang:1.26"}) },
		func() (attest.Statement, error) { return ofReleased(r, []string{"1.0.0"}) },
	} {
		st, err := make()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, st)
	}
	got, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "statements.json")
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(golden, append(got, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.TrimSpace(string(want)), string(got)); diff != "" {
		t.Error(diff)
	}
}
