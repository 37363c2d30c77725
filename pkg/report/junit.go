package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/millrace-cd/millrace/pkg/event"
)

// JUnit reads JUnit's XML in all its dialects: one suite or several, nested or not. What
// a report counts itself is taken where it lists no cases; else the cases count.
// With an error come the suites read so far.
func JUnit(r io.Reader, max Limits) ([]Suite, error) {
	max = max.orDefault()
	p := junit{all: collector{max: max}}
	err := p.read(newDecoder(r, max.Bytes))
	for _, s := range p.open {
		p.all.close(s)
	}
	return p.all.list(), err
}

// junit is a place in a report.
type junit struct {
	all   collector
	depth int
	open  []*junitSuite // the outermost first
	test  *junitCase    // inside of a testcase, else nil
}

type junitSuite struct {
	*Suite
	attr    map[string]string
	depth   int
	seconds float64 // of the cases
}

type junitCase struct {
	Case
	depth   int
	skipped bool
	inside  int    // depth of the element that tells of a failure, 0 outside
	hidden  int    // depth of an element with output, 0 outside
	said    string // attribute message
	kind    string // attribute type
	text    clip
}

func (p *junit) read(d *xml.Decoder) error {
	known := false
	for {
		token, err := d.RawToken()
		if errors.Is(err, io.EOF) && known && p.depth == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("it is no whole XML: %w", err)
		}
		switch t := token.(type) {
		case xml.StartElement:
			if name := t.Name.Local; !known && name != "testsuites" && name != "testsuite" {
				return fmt.Errorf("its root is <%s>, not <testsuites> or <testsuite>", line(name))
			}
			known = true
			if err := p.start(t); err != nil {
				return err
			}
		case xml.EndElement:
			p.end()
		case xml.CharData:
			if p.test != nil && p.test.inside > 0 && p.test.hidden == 0 && len(bytes.TrimSpace(t)) > 0 {
				p.test.text.add(string(t))
			}
		}
	}
}

func (p *junit) start(t xml.StartElement) error {
	if p.depth++; p.depth > maxDepth {
		return fmt.Errorf("its elements are nested more than %d deep", maxDepth)
	}
	switch name := t.Name.Local; {
	case p.test != nil:
		p.test.start(name, attributes(t), p.depth)
	case name == "testsuite" || name == "testsuites" && p.depth == 1:
		return p.suite(attributes(t))
	case name == "testcase":
		p.test = newCase(attributes(t), p.depth)
	}
	return nil
}

func (p *junit) suite(attr map[string]string) error {
	name := first(attr["name"], attr["package"], attr["file"])
	if name == "" && len(p.open) > 0 {
		name = p.open[len(p.open)-1].Name
	}
	s, err := p.all.suite(name)
	if err != nil {
		return err
	}
	p.open = append(p.open, &junitSuite{Suite: s, attr: attr, depth: p.depth})
	return nil
}

// end closes whatever was opened at this depth: names do not matter.
func (p *junit) end() {
	if t := p.test; t != nil {
		t.end(p.depth)
		if t.depth == p.depth {
			p.test = nil
			if n := len(p.open); n > 0 {
				p.all.add(p.open[n-1], t)
			}
		}
	}
	if n := len(p.open); n > 0 && p.open[n-1].depth == p.depth {
		p.all.close(p.open[n-1])
		p.open = p.open[:n-1]
	}
	p.depth = max(0, p.depth-1)
}

// close gives the suite what it says of itself. Totals of a suite around others do not
// count, since these have cases.
func (c *collector) close(s *junitSuite) {
	last := c.suites[len(c.suites)-1] == s.Suite
	if s.Passed+s.Failed+s.Skipped == 0 && last {
		count := func(name string) int { return max(0, int(number(s.attr[name]))) }
		s.Failed, s.Skipped = count("failures")+count("errors"), count("skipped")+count("disabled")
		s.Passed, s.Omitted = max(0, count("tests")-s.Failed-s.Skipped), s.Failed
	}
	if s.Seconds = s.seconds; s.attr["time"] != "" {
		s.Seconds = number(s.attr["time"])
	}
}

func (c *collector) add(s *junitSuite, t *junitCase) {
	s.seconds += t.Seconds
	t.Flaky = t.Flaky && t.Result == ""
	text := t.text.String()
	if strings.TrimSpace(text) == "" {
		t.said = first(t.said, t.kind)
	}
	switch {
	case t.Result != "":
		c.failed(s.Suite, &t.Case, t.said, text)
	case t.skipped:
		s.Skipped++
	default:
		t.Result = event.ResultSuccess
		c.passed(s.Suite, &t.Case, t.said, text)
	}
}

func (c *collector) failed(s *Suite, k *Case, said, text string) {
	if s.Failed++; !c.room() {
		s.Omitted++
		return
	}
	c.explain(k, said, text)
	c.keep(s, *k)
}

func (c *collector) passed(s *Suite, k *Case, said, text string) {
	s.Passed++
	switch {
	case k.Flaky:
		if s.Flaky++; c.room() {
			c.explain(k, said, text)
			c.keep(s, *k)
		}
	case k.Seconds >= slow && c.slow < slowCases:
		c.slow++
		c.keep(s, *k)
	}
}

// explain fills in message and place. The text of a failure often begins with what its
// attribute says.
func (c *collector) explain(k *Case, said, text string) {
	text, said = plain(text), strings.TrimSpace(plain(said))
	k.locate(said + "\n" + text)
	begin, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	saidFirst, _, _ := strings.Cut(said, "\n")
	if said != "" && said != "Failed" && !strings.Contains(begin, saidFirst) {
		text = said + "\n" + text
	}
	k.Message = message(text, c.max.Message)
}

func newCase(attr map[string]string, depth int) *junitCase {
	t := &junitCase{depth: depth, text: clip{max: 16 << 10}}
	t.Name, t.Class = line(attr["name"]), line(attr["classname"])
	t.File, t.Line = line(attr["file"]), int(number(attr["line"]))
	t.Seconds = number(attr["time"])
	t.skipped = attr["status"] == "notrun" || attr["status"] == "skipped" || attr["status"] == "disabled"
	return t
}

func (t *junitCase) start(name string, attr map[string]string, depth int) {
	if t.inside > 0 || t.hidden > 0 {
		if t.hidden == 0 && strings.HasPrefix(name, "system-") {
			t.hidden = depth
		}
		return
	}
	switch name {
	case "failure", "rerunFailure":
		t.Result = first(t.Result, event.ResultFailure)
	case "error", "rerunError":
		t.Result = event.ResultError
	case "flakyFailure", "flakyError":
		t.Flaky = true
	case "skipped", "disabled":
		t.skipped = true
		return
	default:
		return
	}
	t.inside = depth
	t.said, t.kind = first(t.said, attr["message"]), first(t.kind, attr["type"])
}

func (t *junitCase) end(depth int) {
	if t.hidden == depth {
		t.hidden = 0
	}
	if t.inside == depth {
		t.inside = 0
		t.text.add("\n")
	}
}

func attributes(t xml.StartElement) map[string]string {
	attr := make(map[string]string, len(t.Attr))
	for _, a := range t.Attr {
		attr[a.Name.Local] = a.Value
	}
	return attr
}

func first(texts ...string) string {
	for _, s := range texts {
		if s != "" {
			return s
		}
	}
	return ""
}

// number reads a time or a count as tools of any country write it: of a point and a
// comma the last begins the fraction. What is no sensible number is 0.
func number(s string) float64 {
	s = strings.TrimSuffix(strings.TrimSpace(s), "s")
	if comma := strings.LastIndexByte(s, ','); comma > strings.LastIndexByte(s, '.') && strings.Count(s, ",") == 1 {
		s = strings.ReplaceAll(s[:comma], ".", "") + "." + s[comma+1:]
	}
	f, err := strconv.ParseFloat(strings.ReplaceAll(s, ",", ""), 64)
	if err != nil {
		return 0
	}
	return sensible(f)
}

func sensible(f float64) float64 {
	if f >= 0 && f < 1e9 {
		return f
	}
	return 0
}
