package main_test

import (
	"os/exec"
	"strings"
	"testing"
)

const root = "github.com/millrace-cd/millrace/"

// rule forbids the packages under from to import anything under imports.
type rule struct {
	from, imports string
	except        []string // packages, with what is under them, that the rule leaves alone
	because       string
}

// rules are the arrows of the architecture: cmd → services → pkg, and one owner for each
// thing of the outside. They look at what programs are made of, not at their tests.
var rules = []rule{
	{root + "services/", root + "cmd/", nil, "a service does not know who starts it"},
	{root + "services/", root + "bench/", nil, "a service does not know who measures it"},
	{root + "pkg/", root + "services/", nil, "shared code does not know its users"},
	{root + "pkg/", root + "cmd/", nil, "shared code does not know its users"},
	{root, root + "test/", nil, "nothing needs the tests"},
	{root, root + "pkg/bus/bustest", nil, "a server for tests belongs in no program"},
	{root + "services/", root + "pkg/standin", nil, "a service runs what the file names"},
	{root, "github.com/docker/docker/", []string{root + "pkg/container", root + "test"}, "Docker stays behind one package"},
	{root, "github.com/moby/moby/", []string{root + "test"}, "Docker stays behind one package"},
	{root, "github.com/caarlos0/env/", []string{root + "pkg/service"}, "configuration enters in one place"},
	{root, "github.com/nats-io/nats-server/", []string{root + "cmd/millrace", root + "pkg/bus/bustest"}, "a service carries no server"},
	{root, "github.com/olareg/olareg", []string{root + "cmd/millrace"}, "a service carries no registry"},
	{root, "go.opentelemetry.io/otel/sdk/", []string{root + "pkg/telemetry"}, "others use the API of OpenTelemetry"},
	{root, "go.opentelemetry.io/contrib/exporters/", []string{root + "pkg/telemetry"}, "others use the API of OpenTelemetry"},
	{root, "go.yaml.in/yaml/", []string{root + "pkg/pipeline"}, "one package reads millrace.yaml"},
	{root, "github.com/testcontainers/", []string{root + "test"}, "its dependencies reach no service"},
}

func TestArrows(t *testing.T) {
	for pkg, imports := range packages(t) {
		for _, imported := range imports {
			if because := broken(pkg, imported); because != "" {
				t.Errorf("%s imports %s: %s", pkg, imported, because)
			}
		}
	}
}

// TestBroken breaks each kind of rule once: a check that forbids nothing is no check.
func TestBroken(t *testing.T) {
	tests := []struct {
		pkg, imported string
		broken        bool
	}{
		{"pkg/stage", "github.com/docker/docker/client", true},
		{"pkg/container", "github.com/docker/docker/client", false},
		{"pkg/container/inner", "github.com/docker/docker/client", false},
		{"pkg/containers", "github.com/docker/docker/client", true},
		{"cmd/millrace", "github.com/nats-io/nats-server/v2/server", false},
		{"services/builder", "github.com/nats-io/nats-server/v2/server", true},
		{"cmd/millrace", "github.com/caarlos0/env/v11", true},
		{"pkg/bus", root + "services/tester/tester", true},
		{"services/tester/tester", root + "cmd/millrace", true},
		{"services/tester/tester", root + "services/builder/builder", true},
		{"services/tester", root + "services/tester/tester", false},
		{"services/tester/tester", root + "pkg/stage", false},
		{"pkg/event", root + "pkg/bus", true},
		{"pkg/event", "encoding/json", false},
	}
	for _, tt := range tests {
		if because := broken(root+tt.pkg, tt.imported); (because != "") != tt.broken {
			t.Errorf("%s imports %s: broken is %q, want %v", tt.pkg, tt.imported, because, tt.broken)
		}
	}
}

// broken says why pkg may not import imported; "" where it may.
func broken(pkg, imported string) string {
	for _, r := range rules {
		if r.forbids(pkg, imported) {
			return r.because
		}
	}
	if from, to := service(pkg), service(imported); from != "" && to != "" && from != to {
		return "stages meet on the bus, never in code"
	}
	if under(pkg, root+"pkg/event") && outsideStandardLibrary(imported) {
		return "events need the standard library only"
	}
	return ""
}

func (r rule) forbids(pkg, imported string) bool {
	if !under(pkg, r.from) || !under(imported, r.imports) {
		return false
	}
	for _, exempt := range r.except {
		if under(pkg, exempt) {
			return false
		}
	}
	return true
}

// under tells whether pkg is dir or a package below it.
func under(pkg, dir string) bool {
	dir = strings.TrimSuffix(dir, "/")
	return pkg == dir || strings.HasPrefix(pkg, dir+"/")
}

// service is the name of the service that pkg belongs to, if any.
func service(pkg string) string {
	path, ok := strings.CutPrefix(pkg, root+"services/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(path, "/")
	return name
}

func outsideStandardLibrary(imported string) bool {
	host, _, _ := strings.Cut(imported, "/")
	return strings.Contains(host, ".")
}

// packages are all those of the workspace, each with its imports.
func packages(t *testing.T) map[string][]string {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "work")
	out, err := list.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", list, err, out)
	}
	all := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		all[fields[0]] = fields[1:]
	}
	if len(all) < 10 {
		t.Fatalf("%v found only %d packages; is go.work in use?", list, len(all))
	}
	return all
}
