package report

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/millrace-cd/millrace/pkg/event"
)

const (
	maxLine    = 1 << 20 // bytes of an event; what is longer is no event of ours
	maxRunning = 100_000 // tests at the same time
)

// GoTest reads the output of go test -json: a suite for each package with tests. Lines
// that are no events are passed over. Tests that never ended, and packages that failed
// without a test that did, count as errors. With an error come the suites read so far.
func GoTest(r io.Reader, max Limits) ([]Suite, error) {
	max = max.orDefault()
	g := goTest{all: collector{max: max}, packages: map[string]*goPackage{}, builds: map[string]*clip{}}
	err := g.read(bufio.NewReaderSize(limit(r, max.Bytes), 32<<10))
	for _, name := range slices.Sorted(maps.Keys(g.packages)) {
		g.end(g.packages[name], goEvent{Package: name, Action: "fail"})
	}
	return g.all.list(), err
}

// goEvent is a line of go test -json, see go doc test2json and go help buildjson.
type goEvent struct {
	Action, Package, Test, Output string
	Elapsed                       float64
	ImportPath, FailedBuild       string
}

type goTest struct {
	all      collector
	packages map[string]*goPackage // that have not ended
	builds   map[string]*clip      // what the compiler says
	running  int
}

type goPackage struct {
	*Suite
	running map[string]*clip // tests, with what they print
	out     *clip            // what belongs to no test
}

func (g *goTest) read(in *bufio.Reader) error {
	seen := false
	for {
		text, err := readLine(in)
		var e goEvent
		if json.Unmarshal(text, &e) == nil && e.Action != "" {
			seen = true
			if err := g.take(e); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF) && !seen:
			return errors.New("it has no event of go test -json")
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// readLine gives nothing of lines that are too long.
func readLine(in *bufio.Reader) ([]byte, error) {
	var text []byte
	for {
		part, err := in.ReadSlice('\n')
		if len(text) <= maxLine {
			text = append(text, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if len(text) > maxLine || !bytes.HasPrefix(text, []byte("{")) {
			text = nil
		}
		return text, err
	}
}

func (g *goTest) take(e goEvent) error {
	if e.Action == "build-output" {
		if g.builds[e.ImportPath] == nil && len(g.builds) < maxSuites {
			g.builds[e.ImportPath] = g.clip()
		}
		if b := g.builds[e.ImportPath]; b != nil {
			b.add(e.Output)
		}
		return nil
	}
	if e.Package == "" && e.ImportPath != "" {
		return nil
	}
	p, err := g.pkg(e.Package)
	if err != nil {
		return err
	}
	if e.Test == "" {
		return g.takePackage(p, e)
	}
	return g.takeTest(p, e)
}

func (g *goTest) takePackage(p *goPackage, e goEvent) error {
	switch e.Action {
	case "output":
		p.out.add(e.Output)
	case "pass", "fail", "skip":
		g.end(p, e)
	}
	return nil
}

func (g *goTest) takeTest(p *goPackage, e goEvent) error {
	out := p.running[e.Test]
	if out == nil {
		if g.running++; g.running > maxRunning {
			return fmt.Errorf("more than %d tests in it run at the same time", maxRunning)
		}
		out = g.clip()
		p.running[e.Test] = out
	}
	switch e.Action {
	case "output":
		if !frame(e.Output) {
			out.add(e.Output)
		}
	case "pass", "fail", "skip", "bench":
		g.finish(p, e, out)
	}
	return nil
}

func (g *goTest) pkg(name string) (*goPackage, error) {
	if p := g.packages[name]; p != nil {
		return p, nil
	}
	s, err := g.all.suite(name)
	if err != nil {
		return nil, err
	}
	p := &goPackage{Suite: s, running: map[string]*clip{}, out: g.clip()}
	g.packages[name] = p
	return p, nil
}

func (g *goTest) finish(p *goPackage, e goEvent, out *clip) {
	delete(p.running, e.Test)
	g.running--
	k := Case{Name: line(e.Test), Class: p.Name, Seconds: sensible(e.Elapsed)}
	switch e.Action {
	case "skip":
		p.Skipped++
	case "fail":
		k.Result = event.ResultFailure
		g.all.failed(p.Suite, &k, "", out.String())
	default:
		k.Result = event.ResultSuccess
		g.all.passed(p.Suite, &k, "", "")
	}
}

// end closes a package. Its tests that run now will never end.
func (g *goTest) end(p *goPackage, e goEvent) {
	delete(g.packages, e.Package)
	p.Seconds = sensible(e.Elapsed)
	for _, name := range slices.Sorted(maps.Keys(p.running)) {
		out := p.running[name]
		out.add("the test did not finish\n")
		g.all.failed(p.Suite, &Case{Name: line(name), Class: p.Name, Result: event.ResultError}, "", out.String())
	}
	g.running -= len(p.running)
	if e.Action != "fail" || p.Failed > 0 {
		return
	}
	k, out := Case{Name: "[package failed]", Class: p.Name, Result: event.ResultError}, p.out
	if b := g.builds[e.FailedBuild]; b != nil {
		k.Name, out = "[build failed]", b
	}
	g.all.failed(p.Suite, &k, "", out.String())
}

func (g *goTest) clip() *clip { return &clip{max: 2 * g.all.max.Message} }
