package pipeline

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// fill repeats s up to the limit of a file, with some room for what surrounds it.
func fill(s string) string { return strings.Repeat(s, (MaxBytes-4096)/len(s)) }

// just repeats s so often that it is not refused before it is read.
func just(s string) string {
	return strings.Repeat(s, min((MaxBytes-4096)/len(s), (maxMarks-300)/marks([]byte(s))))
}

// laughs is the bomb of n levels, each of nine of the one before.
func laughs(n int) string {
	bomb := "x-a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'a'; c < 'a'+rune(n); c++ {
		bomb += fmt.Sprintf("x-%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c+1, c+1, c, c, c, c, c, c, c, c, c)
	}
	return bomb
}

// many is a good file but for the lines given, each made for a number.
func many(n int, head, line, tail string) string {
	var b strings.Builder
	b.WriteString(head)
	for i := range n {
		fmt.Fprintf(&b, line, i, i+1)
	}
	b.WriteString(tail)
	return b.String()
}

const rest = `
version: 1
name: x
build: { image: i, run: x, artifacts: [x] }
release: { image: r, base: b, files: { x: /x }, acceptance: none }
`

// hostile are files that must be refused, or at least cost little.
var hostile = map[string]string{
	"billion laughs":      laughs(10),
	"billion laughs used": laughs(10) + "test: *k\n",
	"nested brackets":     strings.Repeat("[", 100_000),
	"nested maps":         strings.Repeat("{a: ", 20_000),
	"nested blocks":       strings.Repeat("- ", 20_000),
	"nested keys":         strings.Repeat("? ", 100_000),
	"block and flow":      "a:\n" + strings.Repeat(" ", 1) + "- " + strings.Repeat("- ", 25) + strings.Repeat("[", 20) + strings.Repeat("]", 20),
	"large scalar":        "a: " + strings.Repeat("x", 8<<20),
	"large file":          "a: " + strings.Repeat("x", MaxBytes),
	"depth by aliases":    many(20, "x-0: &a0 [[[x]]]\n", "x-b%[2]d: &a%[2]d [[[*a%[1]d]]]\n", rest),
	"alias loop":          "a: &a [*a]\n",
	"merge loop":          "x-a: &a { <<: *a }\ntest: *a\n" + rest,
	"merge bomb":          many(40, "x-0: &a0 { k: v }\n", "x-b%[2]d: &a%[2]d { <<: [*a%[1]d, *a%[1]d] }\n", "test: *a40\n"+rest),
	"flow list":           "a: [" + fill("a,") + "]",
	"flow keys":           "[" + fill("?,"),
	"flow pairs":          "[" + fill("[],") + "]",
	"less flow list":      "a: [" + just("a,") + "]",
	"less flow keys":      "[" + just("?,"),
	"less flow pairs":     "[" + just("[],") + "]",
	"less flow maps":      "test: [" + just("{a: b},") + "]",
	"less empty quotes":   just(`""`),
	"less anchors":        just("&a "),
	"less anchored":       just("- &a x\n"),
	"less aliases":        "x: &a y\ntest: [" + just("*a,") + "]",
	"less comments":       "[" + just("a, # c\n"),
	"less keys":           just("a:\n"),
	"less variables":      "version: 1\nname: " + just("${a}"),
	"less needs":          "test:\n  a: { image: i, run: x, needs: [" + just("a,") + "] }\n" + rest,
	"less unknown needs":  "test:\n  a: { image: i, run: x, needs: [" + just("bcd,") + "] }\n" + rest,
	"needs of all":        many(150, "test:\n", "  s%[1]d: { image: i, run: x, needs: ["+strings.Repeat("s1,s%[2]d,", 60)+"] }\n", rest),
	"many problems":       "test: [" + just("1,") + "]\n" + rest,
	"empty quotes":        fill(`""`),
	"anchors":             fill("&a "),
	"comments":            "[" + fill("a, # c\n"),
	"comment lines":       fill("- a #x\n\n#y\n"),
	"keys":                fill("a:\n"),
	"dashes":              fill("-\n"),
	"colons":              fill(": "),
	"long word":           "name: " + fill("a"),
	"many steps":          many(8000, "test:\n", "  s%[1]d: { image: i, run: x, needs: [s%[2]d] }\n", rest),
	"wide matrix":         many(40, "test:\n  a:\n    image: i\n    run: x\n    matrix:\n", "      m%[1]d: [1, 2, 3, 4, 5, 6, 7, 8, 9, %[2]d]\n", rest),
	"long matrix":         many(25_000, "test:\n  a:\n    image: i\n    run: x\n    matrix:\n      m:\n", "      - %[1]d\n#%[2]d", rest),
	"long exclude":        many(4000, "test:\n  a:\n    image: i\n    run: x\n    matrix: { a: [1, 2] }\n    exclude:\n", "    - { a: %[1]d, b: %[2]d }\n", rest),
	"unknown keys":        many(12_000, "", "key%[1]d: %[2]d\n", rest),
	"unknown variables":   "name: " + fill("${a}"),
	"different variables": many(7000, "name: \"", "${v%[1]d%[2]d}", "\""+rest),
	"many environments":   many(4000, "deploy:\n", "- { name: n%[1]d, docker: {} } # %[2]d\n", rest),
	"many files":          many(9000, "release:\n  files:\n", "    f%[1]d: /%[2]d\n", ""),
	"dollars":             "name: " + fill("$"),
}

// TestHostileFiles are refused within 2 s and 64 MiB.
func TestHostileFiles(t *testing.T) { // not parallel: it measures memory
	for name, text := range hostile {
		t.Run(name, func(t *testing.T) {
			data := []byte(text)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			_, err := Parse("millrace.yaml", data)
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Error("got no problem")
			}
			if took > 2*time.Second {
				t.Errorf("took %v, want at most 2s", took)
			}
			if used := (after.TotalAlloc - before.TotalAlloc) >> 20; used > 64 {
				t.Errorf("allocated %d MiB in all, want at most 64", used)
			}
			if message := err.Error(); len(message) > 64<<10 {
				t.Errorf("the message has %d KiB", len(message)>>10)
			}
			t.Logf("%v, %d MiB, %d bytes: %.200s", took.Round(time.Millisecond), (after.TotalAlloc-before.TotalAlloc)>>20, len(data), err)
		})
	}
}

// TestLimits are exact: what is at them is read.
func TestLimits(t *testing.T) {
	t.Parallel()
	nested := func(n int) string { return "x-deep: " + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + "\n" }
	steps := func(n int) string { return many(n, "test:\n", "  s%[1]d: { image: i, run: x } # %[2]d\n", rest) }
	one := "test: { a: { image: i, run: x } }\n" + rest
	pad := func(n int) string { return one + "#" + strings.Repeat("x", n-len(one)-1) }
	cases := map[string]struct {
		text string
		want string
	}{
		"depth at the limit":  {nested(MaxDepth) + one, ""},
		"depth over it":       {nested(MaxDepth+1) + one, "nested deeper than 32 levels"},
		"steps at the limit":  {steps(MaxSteps - 1), ""},
		"steps over it":       {steps(MaxSteps), "too many steps"},
		"bytes at the limit":  {pad(MaxBytes), ""},
		"bytes over it":       {pad(MaxBytes + 1), "the limit is 262144"},
		"a matrix over it":    {"test: { a: { image: i, run: x, matrix: { a: [" + strings.Repeat("1,", 14) + "1], b: [" + strings.Repeat("1,", 14) + "1] } } }\n" + rest, "too many steps"},
		"laughs that are few": {laughs(3) + one, ""},
		"laughs that are not": {laughs(4) + one, "too many values"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse("millrace.yaml", []byte(c.text))
			if c.want == "" && err != nil {
				t.Fatalf("got %v, want no problem", err)
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
}
