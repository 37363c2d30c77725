package pipeline

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestMessages keeps what people read, word for word.
func TestMessages(t *testing.T) {
	t.Parallel()
	for name, data := range corpus(t, "testdata/bad/*.yaml") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			f, err := Parse("millrace.yaml", data)
			if err == nil || f != nil {
				t.Fatalf("got %v, %v, want problems", f, err)
			}
			got := err.Error() + "\n"
			golden := strings.TrimSuffix(name, ".yaml") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCaretStandsUnderItsColumn(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 500)
	cases := map[string]struct {
		source     string
		column     int
		text, line string // the two lines, behind the bar
	}{
		"first column":     {"abc", 1, "abc", "^ hint"},
		"behind a tab":     {"\tabc", 3, "\tabc", "\t ^ hint"},
		"behind the end":   {"abc", 9, "abc", "   ^ hint"},
		"wide characters":  {"日本x", 3, "日本x", "  ^ hint"},
		"an escape":        {"a\x1b[31mb", 7, "a\uFFFD[31mb", "      ^ hint"},
		"far in long line": {long + "!" + long, 501, "…" + long[:59] + "!" + long[:60] + "…", strings.Repeat(" ", 60) + "^ hint"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := Problem{File: "f", Line: 7, Column: c.column, Message: "m", Hint: "hint", Source: c.source}
			want := fmt.Sprintf("f:7:%d: m\n    7 | %s\n      | %s", c.column, c.text, c.line)
			if diff := cmp.Diff(want, p.Error()); diff != "" {
				t.Errorf("problem (-want +got):\n%s", diff)
			}
		})
	}
}
