package report

import (
	"bufio"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxLines is how many lines or blocks of code a report may tell of.
const maxLines = 2 << 20

var errNothing = errors.New("it measures nothing")

// lines are those that can be covered, by file; true for those that were.
type lines struct {
	files          map[string]map[uint32]bool
	max            int64
	covered, total int64
}

func (l *lines) add(file, number string, hit bool) error {
	n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 32)
	if err != nil {
		return fmt.Errorf("line %.20q of %.80q is no number", number, file)
	}
	if l.files[file] == nil {
		if l.files == nil {
			l.files = map[string]map[uint32]bool{}
		}
		l.files[file] = map[uint32]bool{}
	}
	before, known := l.files[file][uint32(n)]
	if !known {
		if l.total++; l.total > l.max {
			return fmt.Errorf("it tells of more than %d lines", l.max)
		}
	}
	if hit && !before {
		l.covered++
	}
	l.files[file][uint32(n)] = before || hit
	return nil
}

// lcov counts DA records; where a file has none, its LF and LH.
func lcov(r io.Reader, max int64) (covered, total int64, err error) {
	all := lines{max: max}
	var file string
	var found, hit, extraFound, extraHit int64
	single := false
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxText)
	for in.Scan() {
		key, value, _ := strings.Cut(strings.TrimSpace(in.Text()), ":")
		switch key {
		case "SF":
			file, single, found, hit = value, false, 0, 0
		case "DA":
			single = true
			number, rest, _ := strings.Cut(value, ",")
			count, _, _ := strings.Cut(rest, ",")
			if err := all.add(file, number, positive(count)); err != nil {
				return 0, 0, err
			}
		case "LF":
			found = count(value)
		case "LH":
			hit = count(value)
		case "end_of_record":
			if !single {
				extraFound, extraHit = extraFound+found, extraHit+min(hit, found)
			}
			found, hit = 0, 0
		}
	}
	if err := in.Err(); err != nil {
		return 0, 0, err
	}
	return all.covered + extraHit, all.total + extraFound, nil
}

func count(s string) int64 { return int64(number(s)) }

// positive tells whether a count of executions is more than none; no matter how large.
func positive(count string) bool {
	count = strings.TrimSpace(count)
	return strings.Trim(count, "0123456789") == "" && strings.Trim(count, "0") != ""
}

// cobertura takes the report's own sums; where it has none, it counts the lines of
// classes; where there are none either, it takes the rate.
func cobertura(r io.Reader, max int64) (percent float64, covered, total int64, err error) {
	d := newDecoder(r, maxCoverage)
	c := coberturaFile{lines: lines{max: max}}
	for err == nil {
		var token xml.Token
		if token, err = d.RawToken(); err != nil {
			break
		}
		switch t := token.(type) {
		case xml.StartElement:
			err = c.start(t.Name.Local, attributes(t))
		case xml.EndElement:
			c.depth--
		}
	}
	switch {
	case !errors.Is(err, io.EOF):
		return 0, 0, 0, err
	case c.depth != 0 || c.root == nil:
		return 0, 0, 0, errors.New("it is no whole XML")
	}
	return c.result()
}

type coberturaFile struct {
	depth int
	root  map[string]string
	file  string
	lines lines
}

func (c *coberturaFile) start(name string, attr map[string]string) error {
	c.depth++
	switch {
	case c.root == nil && (name != "coverage" || attr["line-rate"] == ""):
		return fmt.Errorf("its root is <%s>, not the <coverage> of Cobertura", line(name))
	case c.root == nil:
		c.root = attr
	case c.depth > maxDepth:
		return fmt.Errorf("its elements are nested more than %d deep", maxDepth)
	case name == "class":
		c.file = attr["filename"]
	case name == "line": // of methods as well, which are again among the class's
		return c.lines.add(c.file, attr["number"], positive(attr["hits"]))
	}
	return nil
}

func (c *coberturaFile) result() (percent float64, covered, total int64, err error) {
	covered, total = count(c.root["lines-covered"]), count(c.root["lines-valid"])
	if total == 0 || covered > total {
		covered, total = c.lines.covered, c.lines.total
	}
	if total > 0 {
		return share(covered, total), covered, total, nil
	}
	rate := number(c.root["line-rate"])
	if rate == 0 || rate > 1 {
		return 0, 0, 0, errNothing
	}
	return 100 * rate, 0, 0, nil
}
