package report

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestSmallReports(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, want string }{
		{"counts alone", `<testsuite name="s" tests="5" failures="1" errors="1" skipped="1" time="2"/>`, "s 2 2 1 0 2s\n"},
		{"times of the cases", `<testsuite name="s"><testcase name="a" time="1.5"/><testcase name="b" time=".25"/></testsuite>`, "s 2 0 0 0 1.75s\n"},
		{"byte order mark", "\ufeff" + `<testsuite name="s"><testcase/></testsuite>`, "s 1 0 0 0 0s\n"},
		{"cases of the root", `<testsuites name="s"><testcase name="a"/></testsuites>`, "s 1 0 0 0 0s\n"},
		{"name of the file", `<testsuite file="a.bats"><testcase/></testsuite>`, "a.bats 1 0 0 0 0s\n"},
		{"empty", `<testsuites/>`, ""},
		{"not run", `<testsuite name="s"><testcase status="notrun"/></testsuite>`, "s 0 0 1 0 0s\n"},
		{"several failures", `<testsuite name="s"><testcase name="a"><failure message="one"/><failure message="two">x</failure><skipped/></testcase></testsuite>`, "s 0 1 0 0 0s\n  failure  a :0 | one\n"},
		{"output is no message", `<testsuite name="s"><testcase name="a"><system-out>no</system-out><failure>yes<system-err>no</system-err></failure></testcase></testsuite>`, "s 0 1 0 0 0s\n  failure  a :0 | yes\n"},
		{"raw escape", "<testsuite name='s'><testcase name='a'><failure>\x1b[31mred\x1b[0m &#x1b;[1mbold&#27;[0m\x00\xff</failure></testcase></testsuite>", "s 0 1 0 0 0s\n  failure  a :0 | red bold��\n"},
		{"bidirectional control", "<testsuite name='a\u202eb'><testcase/></testsuite>", "ab 1 0 0 0 0s\n"},
		{"flaky, then failed", `<testsuite name="s"><testcase name="a"><flakyFailure/><failure type="T"/></testcase></testsuite>`, "s 0 1 0 0 0s\n  failure  a :0 | T\n"},
		{"unknown entity", `<testsuite name="a&nbsp;b"><testcase/></testsuite>`, "a&nbsp;b 1 0 0 0 0s\n"},
		{"file and line of the report", `<testsuite name="s"><testcase name="a" file="./a.rb" line="7"><failure>lib.rb:3: no</failure></testcase></testsuite>`, "s 0 1 0 0 0s\n  failure  a ./a.rb:7 | lib.rb:3: no\n"},
		{"host is no file", `<testsuite name="s"><testcase name="a"><failure>dial example.com:443</failure></testcase></testsuite>`, "s 0 1 0 0 0s\n  failure  a :0 | dial example.com:443\n"},
		{"killed tests of Go", `noise
{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"waits\n"}
`, "p 0 1 0 0 0s\n  error p TestA :0 | waits\n"},
		{"package fails by itself", `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"exit status 3\n"}
{"Action":"fail","Package":"p","Elapsed":1.5}
`, "p 1 1 0 0 1.5s\n  error p [package failed] :0 | exit status 3\n"},
	}
	for _, tt := range tests {
		suites, err := Read(tt.name, strings.NewReader(tt.text), Limits{})
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if diff := cmp.Diff(tt.want, show(suites)); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
		for _, k := range failed(suites) {
			if k.Flaky {
				t.Errorf("%s: %s failed and is flaky", tt.name, k.Name)
			}
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("<testsuite>", 200)
	tests := []struct{ name, text, want string }{
		{"empty", " \n", "it is empty"},
		{"text", "ok", "neither JUnit XML nor"},
		{"other XML", "<html/>", "root is <html>"},
		{"no event", `x "Action":`, "no event"},
		{"killed while writing", `<testsuite name="s"><testcase/>`, "no whole XML"},
		{"in a tag", `<testsuite name="s`, "no whole XML"},
		{"entities", `<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><testsuite>&b;</testsuite>`, "entities, which are refused"},
		{"deep", deep, "nested more than 100 deep"},
		{"long tag", "<testsuite " + strings.Repeat("a='' ", 300_000) + "/>", "longer than 1048576"},
		{"many suites", "<testsuites>" + strings.Repeat("<testsuite/>", 10_001), "more than 10000 suites"},
		{"large", "<testsuite>" + strings.Repeat(" ", 2<<20), "larger than 1048576 bytes"},
	}
	for _, tt := range tests {
		_, err := Read("some.xml", strings.NewReader(tt.text), Limits{Bytes: 1 << 20})
		if tt.name == "long tag" {
			_, err = Read("some.xml", strings.NewReader(tt.text), Limits{})
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "read report some.xml: ") {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
	broken := errors.New("broken pipe")
	parts := []string{"<testsuite>", "", "</testsuite>"}
	once := readFunc(func(p []byte) (int, error) {
		if len(parts) == 0 {
			return 0, io.EOF
		}
		part := parts[0]
		if parts = parts[1:]; part == "" {
			return 0, broken
		}
		return copy(p, part), nil
	})
	if _, err := Read("x", once, Limits{}); !errors.Is(err, broken) {
		t.Errorf("an error in between: %v", err)
	}
	if _, err := Read("x", iotest.ErrReader(broken), Limits{}); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestCutShort(t *testing.T) {
	t.Parallel()
	suites, err := Read("x", strings.NewReader(`<testsuites><testsuite name="s"><testcase name="a"><failure/></testcase><testcase na`), Limits{})
	if err == nil || show(suites) != "s 0 1 0 0 0s\n  failure  a :0 | \n" {
		t.Errorf("got %q, %v", show(suites), err)
	}
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]float64{"1,234.567": 1234.567, "1.234,567": 1234.567, "0,005": 0.005, "1,234,567": 1234567, " 2.5s ": 2.5, "": 0, "-1": 0, "NaN": 0, "Inf": 0, "1e300": 0, "x": 0} {
		if got := number(text); got != want {
			t.Errorf("%q is %g, want %g", text, got, want)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	text := "<testsuite name='s'>" + strings.Repeat("<testcase name='a'><failure>"+strings.Repeat("é", 3000)+"end</failure></testcase>", 7) + strings.Repeat("<testcase time='9'/>", 300) + "</testsuite>"
	suites, err := JUnit(strings.NewReader(text), Limits{Cases: 5, Message: 100})
	if err != nil {
		t.Fatal(err)
	}
	s := suites[0]
	if s.Failed != 7 || s.Omitted != 2 || s.Passed != 300 || len(s.Cases) != 5+slowCases {
		t.Errorf("failed %d, omitted %d, passed %d, kept %d", s.Failed, s.Omitted, s.Passed, len(s.Cases))
	}
	if m := s.Cases[0].Message; len(m) > 100 || !utf8.ValidString(m) || !strings.HasSuffix(m, "end") || !strings.HasPrefix(m, "éé") || !strings.Contains(m, "…") {
		t.Errorf("message %q", m)
	}
}

func TestClip(t *testing.T) {
	t.Parallel()
	for n := range 40 {
		c := clip{max: 10}
		all := "0123456789abcdefghijABCDEFGHIJ*+-/#.,:;="[:n]
		for rest := all; rest != ""; {
			k := min(len(rest), 1+len(rest)%4)
			c.add(rest[:k])
			rest = rest[k:]
		}
		want := all
		if n > 10 {
			want = all[:5] + gap + all[n-5:]
		}
		if got := c.String(); got != want {
			t.Errorf("of %q stays %q, want %q", all, got, want)
		}
	}
}

// hostile is a large report that is made while it is read.
type hostile struct {
	begin, part, end string
	parts            int
}

func (h hostile) reader() io.Reader {
	readers := []io.Reader{strings.NewReader(h.begin)}
	chunk := strings.Repeat(h.part, 1000)
	for range h.parts / 1000 {
		readers = append(readers, strings.NewReader(chunk))
	}
	return io.MultiReader(append(readers, strings.NewReader(h.end))...)
}

func TestHostile(t *testing.T) {
	for name, h := range map[string]hostile{
		"text":             {"<testsuite><testcase><failure>", strings.Repeat("x", 100), "</failure></testcase></testsuite>", 200_000},
		"character data":   {"<testsuite><testcase><failure><![CDATA[", strings.Repeat("x", 100), "]]></failure></testcase></testsuite>", 200_000},
		"value":            {"<testsuite name='", strings.Repeat("x", 100), "'/>", 200_000},
		"comment":          {"<testsuite><!--", strings.Repeat("-", 100), "--></testsuite>", 200_000},
		"comments in text": {"<testsuite><testcase><failure>", "xxxxxxxx<!-- -->", "</failure></testcase></testsuite>", 500_000},
		"cases":            {"<testsuite>", "<testcase name='a'/>", "</testsuite>", 200_000},
		"failed cases":     {"<testsuite>", "<testcase name='a'><failure>" + strings.Repeat("a.go:1 ", 100) + "</failure></testcase>", "</testsuite>", 6_000},
		"events":           {"", `{"Action":"run","Package":"p","Test":"a"}` + "\n", "", 100_000},
		"long line":        {`{"Action":"output","Package":"p","Output":"`, strings.Repeat("x", 100), `"}` + "\n", 200_000},
	} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		began := time.Now()
		suites, err := Read(name, &sampled{r: h.reader()}, Limits{})
		took := time.Since(began)
		runtime.GC()
		runtime.ReadMemStats(&after)
		kept := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) >> 20
		t.Logf("%s: %v, %d suites, %v", name, took, len(suites), err)
		if name == "long line" && err != nil && strings.Contains(err.Error(), "no event") {
			err = nil
		}
		if took > 20*time.Second || kept > 12 || err != nil {
			t.Errorf("%s: took %v, keeps %d MiB, %v", name, took, kept, err)
		}
		runtime.KeepAlive(suites)
	}
}

// sampled fails the reading where it holds too much memory.
type sampled struct {
	r    io.Reader
	read int
	base uint64
}

func (s *sampled) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if s.read += n; s.read>>22 != (s.read-n)>>22 { // each 4 MiB
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		if s.base == 0 {
			s.base = m.HeapAlloc
		}
		if m.HeapAlloc > s.base+(12<<20) {
			return n, fmt.Errorf("%d MiB are held after %d bytes", (m.HeapAlloc-s.base)>>20, s.read)
		}
	}
	return n, err
}

func FuzzRead(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.*")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		suites, _ := Read("x", bytes.NewReader(data), Limits{Message: 50, Cases: 3})
		for _, s := range suites {
			if s.Passed < 0 || s.Failed < 0 || s.Skipped < 0 || s.Seconds < 0 {
				t.Errorf("counts below zero: %+v", s)
			}
			for _, k := range s.Cases {
				if k.Flaky && k.failed() {
					t.Errorf("failed and flaky: %+v", k)
				}
				check(t, k.Message, 50)
				check(t, k.Name, maxName)
				check(t, k.Class, maxName)
				check(t, k.File, maxName)
			}
		}
		fatal, quarantined := Quarantine(suites, []string{"*a*"})
		if len(fatal)+len(quarantined) < min(1, len(failed(suites))) {
			t.Errorf("failed cases are gone: %+v", suites)
		}
	})
}

func check(t *testing.T, s string, max int) {
	t.Helper()
	if len(s) > max || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }) {
		t.Errorf("unfit: %q", s)
	}
}

func failed(suites []Suite) []Case {
	var all []Case
	for _, s := range suites {
		for _, k := range s.Cases {
			if k.failed() {
				all = append(all, k)
			}
		}
	}
	return all
}

type readFunc func(p []byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }
