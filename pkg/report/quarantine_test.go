package report

import (
	"fmt"
	"strings"
	"testing"
)

func TestQuarantine(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, failed, globs, want string }{
		{"nothing", "TestA", "", "TestA |"},
		{"name", "TestA TestB", "TestA", "TestB | TestA"},
		{"star", "TestA TestB OtherC", "Test*", "OtherC | TestA TestB"},
		{"with class", "pkg.TestA other.TestA", "pkg.TestA", "TestA | TestA"},
		{"brackets are themselves", "test[a-1] testa", "test[a-1]", "testa | test[a-1]"},
		{"question mark", "test1 test12", "test?", "test12 | test1"},
		{"parent of quarantined subtests", "TestA!/ TestA/slow_1 TestA/slow_2", "TestA/slow_*", "| TestA TestA/slow_1 TestA/slow_2"},
		{"parent of a fatal subtest", "TestA! TestA/slow TestA/quick", "TestA/slow", "TestA TestA/quick | TestA/slow"},
		{"parent with a failure of its own", "TestA TestA/slow", "TestA/slow", "TestA | TestA/slow"},
		{"grandparent", "TestA! TestA/b! TestA/b/c", "TestA/b/c", "| TestA TestA/b TestA/b/c"},
		{"subtests of a quarantined test", "TestA! TestA/b", "TestA", "| TestA TestA/b"},
		{"no message, no subtests", "TestA! TestB/b", "TestB/*", "TestA | TestB/b"},
	}
	for _, tt := range tests {
		var s Suite
		for name := range strings.FieldsSeq(tt.failed) {
			k := Case{Result: "failure", Message: "no", Name: strings.TrimSuffix(name, "/")}
			if bare, ok := strings.CutSuffix(k.Name, "!"); ok {
				k.Name, k.Message = bare, ""
			}
			if class, rest, ok := strings.Cut(k.Name, "."); ok {
				k.Class, k.Name = class, rest
			}
			s.Cases = append(s.Cases, k)
		}
		s.Cases = append(s.Cases, Case{Name: "TestSlow", Result: "success"})
		fatal, quarantined := Quarantine([]Suite{s}, strings.Fields(tt.globs))
		if got := strings.TrimSpace(names(fatal) + "|" + names(quarantined)); got != strings.TrimSpace(tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func names(cases []Case) string {
	text := " "
	for _, k := range cases {
		text += k.Name + " "
	}
	return text
}

func TestOmittedAreFatal(t *testing.T) {
	t.Parallel()
	fatal, _ := Quarantine([]Suite{{Name: "s", Failed: 3, Omitted: 3}}, []string{"*"})
	if got := fmt.Sprint(names(fatal)); got != " 3 more failed cases " {
		t.Errorf("got %q", got)
	}
}

func TestTitles(t *testing.T) {
	t.Parallel()
	if (Case{Name: "adds a/b to c"}).matches([]string{"adds a"}) {
		t.Error("a slash in a title makes no subtest")
	}
}

func TestWild(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		glob, s string
		want    bool
	}{
		{"", "", true},
		{"", "a", false},
		{"*", "", true},
		{"a*", "a/b", true},
		{"*b*", "abc", true},
		{"a**c", "abc", true},
		{"a*c", "acb", false},
		{"*a*b", "xaxxab", true},
		{"é?", "éü", true},
		{"[a]", "a", false},
		{strings.Repeat("*a", 100), strings.Repeat("a", 5000) + "b", false},
	} {
		if got := wild(tt.glob, tt.s); got != tt.want {
			t.Errorf("%.20q matches %.20q: %t", tt.glob, tt.s, got)
		}
	}
}
