package pipeline

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func parse(t *testing.T, text string) *File {
	t.Helper()
	f, err := Parse("millrace.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func parseFile(t *testing.T, name string) *File {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, string(data))
}

func check(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestSmallestFile(t *testing.T) {
	t.Parallel()
	check(t, "file", parseFile(t, "testdata/good/min.yaml"), &File{
		Version: 1, Name: "hello", Trigger: Trigger{Supersede: true}, TestOrder: []string{"unit"},
		Test: map[string]*Step{"unit": {
			Name: "unit", Image: "golang:1.26", Run: []string{"go test ./..."}, Shell: []string{"/bin/sh", "-ec"},
			Timeout: 30 * time.Minute, Network: true, Sandbox: "practical",
		}},
		Build: &Build{
			Step: Step{
				Name: "build", Image: "golang:1.26", Run: []string{"CGO_ENABLED=0 go build -trimpath -o dist/hello ."},
				Shell: []string{"/bin/sh", "-ec"}, Timeout: 30 * time.Minute, Network: true, Sandbox: "practical",
			},
			Artifacts: []string{"dist/hello"},
		},
		Release: &Release{
			Image: "registry.example.com/hello", Base: "gcr.io/distroless/static-debian12",
			Files: []FileMap{{From: "dist/hello", To: "/hello"}}, Entrypoint: []string{"/hello"}, Ports: []int{8080},
			Environment: ReleaseEnvironment{Replicas: 1}, Tags: []string{"${short}"}, AcceptanceOrder: []string{"smoke"},
			Acceptance: map[string]*Step{"smoke": {
				Name: "smoke", Image: "curlimages/curl", Run: []string{"curl -fsS http://app:8080/"},
				Shell: []string{"/bin/sh", "-ec"}, Timeout: 30 * time.Minute, Network: true, Sandbox: "practical",
			}},
		},
		Deploy: []Target{{
			Name: "production", Rollback: "auto", Queue: "newest", Lock: "production",
			Drivers: []Driver{{Kind: KindDocker, Docker: &Docker{Host: "ssh://deploy@web1", Publish: []string{"80:8080"}, Replicas: 1}}},
		}},
	})
}

func TestDefaultsReachSteps(t *testing.T) {
	t.Parallel()
	f := parseFile(t, "testdata/good/full.yaml")
	lint, unit := f.Test["lint"], f.Test["unit"]
	check(t, "order", f.TestOrder, []string{"unit", "lint"})
	check(t, "image", lint.Image, "alpine:3.22")
	check(t, "timeouts", []time.Duration{lint.Timeout, unit.Timeout}, []time.Duration{90 * time.Minute, 10 * time.Minute})
	check(t, "resources", unit.Resources, Resources{CPU: 0.5, Memory: 1 << 30, Pids: 256})
	check(t, "env", unit.Env, map[string]string{
		"TZ": "UTC", "LOG_LEVEL": "debug", "RETRIES": "3", "STRICT": "true", "COMMIT": "${commit}", "GO": "${matrix.go}",
	})
	check(t, "cache", lint.Cache, []Cache{{Path: "/root/.cache"}, {Path: "/go", Key: []string{"go.sum"}}})
	check(t, "own cache", unit.Cache, []Cache{})
	check(t, "fail fast", f.Defaults.FailFast, true)
	check(t, "build's env", f.Build.Env, map[string]string{"TZ": "UTC"})
	check(t, "acceptance's timeout", f.Release.Acceptance["smoke"].Timeout, 90*time.Minute)
}

func TestValuesOfAllKinds(t *testing.T) {
	t.Parallel()
	f := parseFile(t, "testdata/good/full.yaml")
	unit, all := f.Test["unit"], f.Deploy[0]
	check(t, "secrets", unit.Secrets, map[string]string{"TOKEN": "TOKEN"})
	check(t, "service's secrets", unit.Services["db"].Secrets, map[string]string{"pass": "prod/pass"})
	check(t, "services", unit.ServiceOrder, []string{"db", "web", "cache"})
	check(t, "probe", unit.Services["db"].Ready, &Probe{Log: "ready to accept", Every: 500 * time.Millisecond, Within: 30 * time.Second})
	check(t, "default probe", unit.Services["cache"].Ready, &Probe{TCP: 6379, Within: time.Minute})
	check(t, "user", unit.User, "1000")
	check(t, "network", unit.Network, false)
	check(t, "matrix", unit.Matrix, map[string][]string{"go": {"1.25", "1.26"}, "os": {"linux", "bsd"}})
	check(t, "reports", unit.Reports, Reports{JUnit: "junit.xml", Coverage: Coverage{File: "cover.out", Min: 70.5}, Files: []string{"out/*.html"}})
	check(t, "short coverage", f.Test["lint"].Reports.Coverage, Coverage{File: "cover.out"})
	check(t, "max size", f.Release.MaxSize, int64(100<<20))
	check(t, "files", f.Release.Files, []FileMap{{"dist/app", "/app"}, {"dist/static/", "/static/"}})
	check(t, "canary", all.Strategy, Strategy{Kind: "canary", Canary: []int{10, 100}, Pause: 5 * time.Minute})
	check(t, "one driver", f.Deploy[3].Drivers, []Driver{{Kind: KindSwarm, Swarm: &Swarm{File: "c.yaml", Service: "s"}}})
	check(t, "approval", all.Approval, &Approval{By: []string{"alice", "group:ops"}, Count: 2, Timeout: 24 * time.Hour})
	zero, most := 0.0, 1.5
	check(t, "watch", all.Watch.Prometheus, []Query{{Query: `rate(e{app="${app}"}[2m])`, Min: &zero, Max: &most}})
	check(t, "locks", []string{all.Lock, f.Deploy[1].Lock}, []string{"shared", "one"})
	check(t, "environments", f.Environments(), []string{"all", "one", "two", "three", "four", "five", "six", "seven", "eight"})
}

func TestMergesAndOwnKeys(t *testing.T) {
	t.Parallel()
	f := parseFile(t, "testdata/good/dockerfile.yaml")
	unit, race := f.Test["unit"], f.Test["race"]
	check(t, "first merge wins", unit.Timeout, 5*time.Minute)
	check(t, "second merge counts", unit.Retries, 1)
	check(t, "own key wins", race.Run, []string{"go test -race ./..."})
	check(t, "merge of a merge", race.Image, "golang:1.26")
	check(t, "script", unit.Run, []string{"go vet ./...\ngo test ./...  # ${HOME} is the shell's\n"})
	check(t, "no acceptance", f.Release.NoAcceptance, true)
}

func TestImageRefs(t *testing.T) {
	t.Parallel()
	check(t, "full", parseFile(t, "testdata/good/full.yaml").ImageRefs(), []string{
		"golang:1.25", "postgres:17", "nginx", "redis", "golang:1.26", "alpine:3.22", "debian:13-slim",
		"curlimages/curl", "aquasec/trivy", "hashicorp/terraform", "ansible", "alpine", "a",
	})
	f := parse(t, `
version: 1
name: x
test: { a: { image: "t:${version}", run: x, services: { s: { image: "s:${matrix.v}" } }, matrix: { v: [1] } } }
build: { image: scratch, run: x, artifacts: [x] }
release: { image: r, base: scratch, files: { x: /x }, acceptance: none }
`)
	check(t, "scratch and variables", f.ImageRefs(), []string{"s:1"})
}

func TestVariants(t *testing.T) {
	t.Parallel()
	step := &Step{
		Name:    "unit",
		Matrix:  map[string][]string{"os": {"linux", "bsd"}, "go": {"1.26", "1.25"}},
		Exclude: []map[string]string{{"go": "1.25", "os": "bsd"}, {}},
	}
	var names []string
	for _, v := range step.Variants() {
		names = append(names, v.Name)
	}
	check(t, "names", names, []string{"unit[go=1.26,os=linux]", "unit[go=1.26,os=bsd]", "unit[go=1.25,os=linux]"})
	check(t, "values", step.Variants()[1].Matrix, map[string]string{"go": "1.26", "os": "bsd"})
	check(t, "no matrix", (&Step{Name: "lint"}).Variants(), []Variant{{Name: "lint"}})
}

func TestSchemaIsACopy(t *testing.T) {
	t.Parallel()
	Schema()[0] = 'x'
	if !strings.HasPrefix(string(Schema()), "{") {
		t.Error("a caller changed the schema")
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"testdata/good/full.yaml", "testdata/good/dockerfile.yaml", "testdata/bad/types.yaml", "testdata/bad/variables.yaml"} {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("a: &a [*a]\n<<: *a\n? [x]\n: !!int x\n"))
	f.Add([]byte("\xef\xbb\xbfversion: \r\n\u2028- \u0085"))
	f.Fuzz(func(t *testing.T, data []byte) {
		slow := time.AfterFunc(5*time.Second, func() { panic(fmt.Sprintf("still busy with %q", data)) })
		defer slow.Stop()
		file, err := Parse("f", data)
		if (file == nil) == (err == nil) {
			t.Fatalf("got %v and %v", file, err)
		}
		if err == nil {
			use(t, file)
			return
		}
		var problems Problems
		if !errors.As(err, &problems) || len(problems) == 0 || problems.Error() == "" {
			t.Fatalf("got %T %v, want problems", err, err)
		}
	})
}

// use does with a good file what services do.
func use(t *testing.T, f *File) {
	t.Helper()
	f.ImageRefs()
	f.Environments()
	for _, s := range f.Test {
		for _, v := range s.Variants() {
			if _, err := s.Expand(Vars{Matrix: v.Matrix}); err != nil {
				t.Fatalf("what Parse accepts cannot be expanded: %v", err)
			}
		}
	}
	if _, err := f.Release.Expand(Vars{}); err != nil {
		t.Fatalf("what Parse accepts cannot be expanded: %v", err)
	}
}
