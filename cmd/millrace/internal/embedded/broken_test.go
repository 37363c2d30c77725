package embedded

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace-cd/millrace/cmd/millrace/internal/render"
	"github.com/millrace-cd/millrace/pkg/delivery"
)

var update = flag.Bool("update", false, "write the golden files")

// broken is an example with one mistake in one file, of the kind that people make.
type broken struct {
	name     string // of the golden file
	path     string // how the delivery goes
	file     string
	old, new string
	printed  string // by a step that fails, in one line that is told as well
	noisy    bool   // the app or service prints what no two runs do alike
}

const (
	failsTest    = "test:failed"
	failsBuild   = "test:succeeded build:failed"
	failsRelease = "test:succeeded build:succeeded release:failed"
	failsDeploy  = "test:succeeded build:succeeded release:succeeded deploy:failed"
)

var shopMistakes = []broken{
	{name: "shop-test", path: failsTest, file: "delivery.go", old: "closing = 15", new: "closing = 16"},
	{name: "shop-test-service", path: failsTest, file: "millrace.yaml", old: "pg_isready -h localhost -U shop, within: 60s", new: "pg_isready -h localhost -p 5433, within: 5s", noisy: true},
	{name: "shop-test-coverage", path: failsTest, file: "millrace.yaml", old: "min: 70", new: "min: 95"},
	{name: "shop-build-artifacts", path: failsBuild, file: "millrace.yaml", old: "artifacts: [dist/shop]", new: `artifacts: ["bin/*"]`},
	{name: "shop-release-ready", path: failsRelease, file: "millrace.yaml", old: `ready: { http: ":8080/healthz", within: 30s }`, new: `ready: { http: ":8080/health", within: 4s }`},
	{name: "shop-release-before", path: failsRelease, file: "millrace.yaml", old: "before: /app/shop migrate", new: "before: /app/shop migrat", printed: "shop does not know"},
	{name: "shop-deploy-check", path: failsDeploy, file: "millrace.yaml", old: `check: [{ http: ":8080/healthz", within: 30s }]`, new: `check: [{ http: ":8080/products", within: 4s }]`, noisy: true},
}

var ordersMistakes = []broken{
	{name: "orders-test", path: failsTest, file: "orders/price.py", old: `(10, Decimal("0.05"))`, new: `(10, Decimal("0.04"))`, printed: "FAILED (failures=1)"},
	{name: "orders-release-install", path: failsRelease, file: "millrace.yaml", old: "import orders.server\"", new: "import orders.servant\"", printed: "ModuleNotFoundError: No module named 'orders.servant'"},
	{name: "orders-build", path: failsBuild, file: "millrace.yaml", old: "zip/__main__.py", new: "zip/main.py", printed: "Archive has no entry point"},
	{name: "orders-release-acceptance", path: failsRelease, file: "acceptance.py", old: `"43.23"`, new: `"43.24"`, printed: "AssertionError: {'number': 1, 'item': 'tea'"},
	{name: "orders-deploy-check", path: failsDeploy, file: "millrace.yaml", old: `check: [{ http: ":8000/health", within: 30s }]`, new: `check: [{ run: "test -w /app || { echo /app is not writable; exit 3; }", within: 4s }]`, noisy: true},
}

var tallyMistakes = []broken{
	{name: "tally-test", path: failsTest, file: "src/tally.c", old: "return ++t->", new: "return t->", printed: "FAIL  test/tally_test.c:25: the first is 0, want 1"},
	{name: "tally-test-compile", path: failsTest, file: "src/tally.c", old: "int i = find(t, name);\n\tif (i < 0) {", new: "int j = find(t, name);\n\tif (i < 0) {", printed: "src/tally.c:24:13: error"},
	{name: "tally-build-compile", path: failsBuild, file: "millrace.yaml", old: "run: make dist/tally", new: "run: make dist/tally CFLAGS=-std=c11", printed: "'on_stop'"},
	{name: "tally-release-entrypoint", path: failsRelease, file: "millrace.yaml", old: "entrypoint: [/app/tally]", new: "entrypoint: [/tally]"},
	{name: "tally-deploy-check", path: failsDeploy, file: "millrace.yaml", old: `check: [{ http: ":8080/healthz", within: 30s }]`, new: `check: [{ tcp: 9090, within: 4s }]`, noisy: true},
}

// Each example fails once at each stage, and what people are told is kept in a file,
// to be read as they would read it.
func TestMistakes(t *testing.T) {
	w := start(t, "golang:1.26", "busybox:1.37", "postgres:17-alpine", "python:3.13-slim", "gcc:14")
	for app, mistakes := range map[string][]broken{"shop": shopMistakes, "orders": ordersMistakes, "tally": tallyMistakes} {
		t.Run(app, func(t *testing.T) {
			t.Parallel()
			for _, b := range mistakes {
				t.Run(b.name, func(t *testing.T) { world{w.Embedded, t, w.dir}.checkMistake(app, b) })
			}
		})
	}
}

func (w world) checkMistake(app string, b broken) {
	facts := w.deliver(repository(w.t, app, func(dir string) { b.make(w.t, app, dir) }))
	last := facts[len(facts)-1]
	if path(facts) != b.path {
		w.t.Fatalf("%s, want %s: %s", path(facts), b.path, last.Reason)
	}
	if last.Attempt != 1 {
		w.t.Errorf("it took %d attempts to blame the commit", last.Attempt)
	}
	golden(w.t, b.name, path(facts)+"\n"+stable(w.told(last.Number, b.printed), b.noisy))
}

// make copies the example and makes the mistake.
func (b broken) make(t *testing.T, app, dir string) {
	t.Helper()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("../../../../examples", app))); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, b.file)
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(data), b.old); n != 1 {
		t.Fatalf("%s has %q %d times", b.file, b.old, n)
	}
	if err := os.WriteFile(name, []byte(strings.Replace(string(data), b.old, b.new, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// told is what `millrace show` says of a failure, but of what the failed steps printed
// only the line that matters.
func (w world) told(number uint64, printed string) string {
	w.t.Helper()
	d, err := delivery.Load(w.t.Context(), w.Bus, number)
	if err != nil {
		w.t.Fatal(err)
	}
	culprit, _ := d.Culprit()
	var b bytes.Buffer
	render.Reason(&b, culprit)
	for _, s := range culprit.Failed() {
		render.Cases(&b, culprit, s)
		lines, total, err := delivery.Tail(w.t.Context(), w.Bus, number, delivery.Which{Stage: culprit.Name, Step: s.Name}, 20)
		if err != nil {
			w.t.Fatal(err)
		}
		if printed == "" {
			continue
		}
		i := slices.IndexFunc(lines, func(line string) bool { return strings.Contains(line, printed) })
		if i < 0 {
			w.t.Fatalf("step %s printed\n%s\nwant %q in it", s.Name, strings.Join(lines, "\n"), printed)
		}
		render.Tail(&b, d, culprit, s.Name, lines[i:i+1], total)
	}
	return b.String()
}

// volatile is what differs from one run to the next.
var volatile = []struct {
	what *regexp.Regexp
	by   string
}{
	{regexp.MustCompile("\x1b\\[[0-9;]*m"), ""},
	{regexp.MustCompile(`sha256:[0-9a-f]{12,64}`), "sha256:DIGEST"},
	{regexp.MustCompile(`\b[0-9a-f]{40}\b`), "COMMIT"},
	{regexp.MustCompile(`(it ended with exit code \d+): .*`), "$1: …"}, // what was asked last depends on the moment
	{regexp.MustCompile(`\btest-\d+-\d+-`), ""},                        // of this test's own installation
	{regexp.MustCompile(`(-production)-\d+`), "$1-N"},                  // the delivery's number
	{regexp.MustCompile(`\d+\.\d+\.\d+\.\d+`), "IP"},
	{regexp.MustCompile(`IP:\d{5}`), "IP:PORT"},
	{regexp.MustCompile(`\d{4}/\d\d/\d\d \d\d:\d\d:\d\d`), "TIME"},
	{regexp.MustCompile(`tini \(\d+\)`), "tini (PID)"},
	{regexp.MustCompile(`after [0-9.]+m?s`), "after SECONDS"},
	{regexp.MustCompile(`last 1 of \d+ lines`), "last 1 of N lines"},
	{regexp.MustCompile(`millrace logs \d+`), "millrace logs N"},
}

var noise = regexp.MustCompile(`(?m)^.*last lines of \S+:\n(  │   .*\n)+`)

func stable(s string, noisy bool) string {
	for _, v := range volatile {
		s = v.what.ReplaceAllString(s, v.by)
	}
	if noisy {
		s = noise.ReplaceAllString(s, "")
	}
	return s
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "mistakes", name+".txt")
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("what is told differs from %s (-want +got); -update accepts it\n%s", file, diff)
	}
}
