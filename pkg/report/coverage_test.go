package report

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/cover"
	"pgregory.net/rapid"
)

func TestCoverage(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]struct {
		percent        float64
		covered, total int64
	}{
		"cover.out":             {83.33, 5, 6},
		"coverage-py.lcov":      {92.86, 26, 28},
		"geninfo.lcov":          {100, 5, 5}, // unit and integration tests together
		"cobertura.xml":         {92.86, 26, 28},
		"jenkins.cobertura.xml": {75, 3, 4},
	} {
		f, err := os.Open(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		percent, covered, total, err := Coverage(file, f)
		_ = f.Close()
		if err != nil || math.Abs(percent-want.percent) > 0.005 || covered != want.covered || total != want.total {
			t.Errorf("%s: %g, %d of %d, %v; want %v", file, percent, covered, total, err, want)
		}
	}
}

func TestCoverageText(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		percent    float64
		want       string // in the error
	}{
		{"merged profile", "mode: set\na.go:1.1,2.2 3 0\na.go:1.1,2.2 3 1\nb.go:1.1,2.2 1 0\n", 75, ""},
		{"lcov without lines", "SF:a.c\nLF:10\nLH:4\nend_of_record\n", 40, ""},
		{"lcov with a comment", "# made by hand\nSF:a.c\nDA:1,1\nDA:2,0\nend_of_record\n", 50, ""},
		{"lcov of several runs", "SF:a.c\nDA:1,1\nDA:2,0\nend_of_record\nSF:a.c\nDA:1,0\nDA:2,0\nend_of_record\nSF:a.c\nDA:1,1\n", 50, ""},
		{"lcov with large counts", "SF:a.c\nDA:1,99999999999999999999999\nDA:2,-1\nend_of_record\n", 50, ""},
		{"Cobertura with a rate", `<coverage line-rate="0.5"/>`, 50, ""},
		{"Cobertura with impossible sums", `<coverage line-rate="1" lines-covered="5" lines-valid="4"><class filename="a"><line number="1" hits="0"/></class></coverage>`, 0, ""},
		{"nothing run", "mode: set\n", 0, "it measures nothing"},
		{"no lines", "TN:\n", 0, "it measures nothing"},
		{"no code", `<coverage line-rate="0" lines-valid="0" lines-covered="0"/>`, 0, "it measures nothing"},
		{"text", "ok", 0, "neither a cover profile of Go"},
		{"empty", "", 0, "it is empty"},
		{"broken profile", "mode: set\nx\n", 0, `"x" is no line of a cover profile`},
		{"too good to be true", "mode: set\na.go:1.1,2.2 9223372036854775807 1\n", 0, "no line"},
		{"broken lcov", "SF:a\nDA:x,1\n", 0, `line "x" of "a"`},
		{"JaCoCo", "<report/>", 0, "root is <report>"},
		{"Clover", `<coverage generated="1"/>`, 0, "not the <coverage> of Cobertura"},
		{"cut", `<coverage line-rate="1">`, 0, "no whole XML"},
		{"entities", `<!DOCTYPE c [<!ENTITY a "b">]><coverage line-rate="1"/>`, 0, "entities"},
	}
	for _, tt := range tests {
		percent, _, _, err := Coverage("c", strings.NewReader(tt.text))
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) || percent != tt.percent {
			t.Errorf("%s: %g, %v; want %g, %q", tt.name, percent, err, tt.percent, tt.want)
		}
	}
}

// A profile is read as golang.org/x/tools/cover does it.
func TestProfile(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		mode := rapid.SampledFrom([]string{"set", "count"}).Draw(t, "mode")
		text := "mode: " + mode + "\n"
		for range rapid.IntRange(1, 20).Draw(t, "lines") {
			at := rapid.IntRange(1, 5).Draw(t, "line")
			text += fmt.Sprintf("a %d.go:%d.1,%d.2 %d %d\n", rapid.IntRange(1, 2).Draw(t, "file"), at, at, at, rapid.IntRange(0, 2).Draw(t, "count"))
		}
		profiles, err := cover.ParseProfilesFromReader(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		var wantCovered, wantTotal int64
		for _, p := range profiles {
			for _, b := range p.Blocks {
				wantTotal += int64(b.NumStmt)
				wantCovered += int64(b.NumStmt * min(1, b.Count))
			}
		}
		if _, covered, total, err := Coverage("c", strings.NewReader(text)); err != nil || covered != wantCovered || total != wantTotal {
			t.Fatalf("%d of %d, %v; want %d of %d", covered, total, err, wantCovered, wantTotal)
		}
	})
}

func TestCoverageLimits(t *testing.T) {
	t.Parallel()
	_, _, goErr := goProfile(strings.NewReader("a.go:1.1,2.2 1 1\na.go:1.1,2.2 1 1\na.go:3.1,4.2 1 1\na.go:5.1,6.2 1 1\n"), 2)
	_, _, lcovErr := lcov(strings.NewReader("SF:a\nDA:1,1\nDA:1,1\nDA:2,1\nDA:3,1\n"), 2)
	_, _, _, xmlErr := cobertura(strings.NewReader(`<coverage line-rate="1"><line number="1"/><line number="1"/><line number="2"/><line number="3"/>`), 2)
	for name, err := range map[string]error{"blocks": goErr, "lines": lcovErr, "lines of Cobertura": xmlErr} {
		if err == nil || !strings.Contains(err.Error(), "more than 2 ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := io.Copy(io.Discard, limit(strings.NewReader("12345"), 4)); err == nil || !strings.Contains(err.Error(), "larger than 4 bytes") {
		t.Errorf("size: %v", err)
	}
	if n, err := io.Copy(io.Discard, limit(strings.NewReader("1234"), 4)); n != 4 || err != nil {
		t.Errorf("size: %d, %v", n, err)
	}
}

func FuzzCoverage(f *testing.F) {
	files, _ := filepath.Glob("testdata/c*")
	for _, file := range append(files, "testdata/geninfo.lcov", "testdata/jenkins.cobertura.xml") {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		percent, covered, total, err := Coverage("x", bytes.NewReader(data))
		if err == nil && !(percent >= 0 && percent <= 100 && covered >= 0 && covered <= total) {
			t.Errorf("%g, %d of %d", percent, covered, total)
		}
	})
}
