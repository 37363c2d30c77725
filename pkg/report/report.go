// Package report reads what test steps write about themselves: which tests ran, which
// failed and where, and how much of the code they covered.
//
// Reports come out of containers that run anybody's code. So everything here is read in
// bounded memory and in time that grows with the size only, whatever the bytes are;
// and what is kept is text that any terminal can show.
package report

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Suite is a group of test cases, as the tool that wrote the report sees it: a package,
// a class or a file.
type Suite struct {
	Name    string
	Passed  int
	Failed  int // errors as well
	Skipped int
	Flaky   int // of those passed: failed before they passed
	Seconds float64
	Cases   []Case // the failed and the flaky ones, and slow ones; not all cases
	Omitted int    // failed cases that are not in Cases, since there were too many
}

// Case is one test.
type Case struct {
	Name    string
	Class   string // package or class; may be ""
	Result  string // event.ResultSuccess, ResultFailure (an assertion), ResultError (anything else)
	Message string // what the failure says, at most Limits.Message bytes
	File    string // where it failed, as the report names it; "" where unknown
	Line    int    // 0 where unknown
	Seconds float64
	Flaky   bool
}

// Limits bound what is read and kept. A zero field means the default.
type Limits struct {
	Bytes   int64 // of the report, 64 MiB
	Cases   int   // kept in all suites, 5000; all are counted
	Message int   // bytes of a case's message, 2 KiB
}

const (
	slow      = 5   // seconds from which on a case is kept though it passed
	slowCases = 100 // kept at most for being slow
	maxSuites = 10_000
	maxName   = 512 // bytes
)

func (l Limits) orDefault() Limits {
	if l.Bytes <= 0 {
		l.Bytes = 64 << 20
	}
	if l.Cases <= 0 {
		l.Cases = 5000
	}
	if l.Message <= 0 {
		l.Message = 2 << 10
	}
	return l
}

// Read reads a report of any kind known here; name is for the error. Together with an
// error come the suites read so far: reports of killed tests end early.
func Read(name string, r io.Reader, max Limits) ([]Suite, error) {
	in := bufio.NewReaderSize(limit(r, max.orDefault().Bytes), 4<<10)
	read, err := sniff(in)
	if err != nil {
		return nil, fmt.Errorf("read report %s: %w", name, err)
	}
	suites, err := read(in, max)
	if err != nil {
		return suites, fmt.Errorf("read report %s: %w", name, err)
	}
	return suites, nil
}

// sniff tells by its beginning how to read a report.
func sniff(in *bufio.Reader) (func(io.Reader, Limits) ([]Suite, error), error) {
	text, err := begin(in)
	switch {
	case err != nil:
		return nil, err
	case text[0] == '<':
		return JUnit, nil
	case bytes.Contains(text, []byte(`"Action":`)):
		return GoTest, nil
	}
	return nil, errors.New("it is neither JUnit XML nor the output of go test -json")
}

// begin is the begin of a report, without reading it.
func begin(in *bufio.Reader) ([]byte, error) {
	head, err := in.Peek(in.Size())
	if err != nil && !errors.Is(err, io.EOF) && len(head) == 0 {
		return nil, err
	}
	text := bytes.TrimSpace(bytes.TrimPrefix(head, []byte("\ufeff")))
	if len(text) == 0 {
		return nil, errors.New("it is empty")
	}
	return text, nil
}

// collector gathers suites within limits.
type collector struct {
	max    Limits
	suites []*Suite
	kept   int // cases
	slow   int // of these, kept for being slow only
}

func (c *collector) suite(name string) (*Suite, error) {
	if len(c.suites) == maxSuites {
		return nil, fmt.Errorf("it has more than %d suites", maxSuites)
	}
	s := &Suite{Name: line(name)}
	c.suites = append(c.suites, s)
	return s, nil
}

// room tells whether another case that did not pass can be kept. Cases that are kept
// for their slowness have a share of their own.
func (c *collector) room() bool { return c.kept-c.slow < c.max.Cases }

func (c *collector) keep(s *Suite, k Case) {
	c.kept++
	s.Cases = append(s.Cases, k)
}

// list is what was gathered without empty suites.
func (c *collector) list() []Suite {
	var all []Suite
	for _, s := range c.suites {
		if s.Passed+s.Failed+s.Skipped > 0 {
			all = append(all, *s)
		}
	}
	return all
}

// limited fails where a report is larger than allowed, and stays with its first error:
// readers above forget errors that they peeked at.
type limited struct {
	r    io.Reader
	max  int64
	left int64
	err  error
}

func limit(r io.Reader, max int64) io.Reader { return &limited{r: r, max: max, left: max} }

func (l *limited) Read(p []byte) (int, error) {
	if l.err != nil {
		return 0, l.err
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left+1)])
	if l.left -= int64(n); l.left < 0 {
		n, err = 0, fmt.Errorf("it is larger than %d bytes", l.max)
	}
	l.err = err
	return n, err
}
