package dockerfile

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const digest = "@sha256:1111"

// pinAll pins each image by its name.
func pinAll(b *Build) map[string]string {
	pins := map[string]string{}
	for _, image := range b.Images {
		pins[image] = image + digest
	}
	return pins
}

// build reads a text and what a build of it is made of.
func build(text string, o Options) (*Build, error) {
	f, err := Parse("Dockerfile", []byte(text))
	if err != nil {
		return nil, err
	}
	if o.Platform == "" {
		o.Platform = "linux/amd64"
	}
	return f.Build(o)
}

func TestText(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		options    Options
		images     string // with blanks between
		base, want string
	}{
		{"plain", "FROM alpine:3\nRUN true\n", Options{}, "alpine:3", "alpine:3", "FROM alpine:3@ AS 0|L|RUN true"},
		{"no last newline, CRLF and BOM", "\uFEFFfrom alpine\r\nrun true", Options{}, "alpine", "alpine", "FROM alpine@ AS 0|L|RUN true"},
		{"scratch", "FROM scratch\nCOPY artifact/ /\n", Options{}, "", "scratch", "FROM scratch AS 0|L|COPY artifact/ /"},
		{
			"continuation, comments and blank lines in it", "# hello\n  FROM a\n\nRUN one \\  \n  # not this\n\n\t two \\\n three\n#end\n",
			Options{},
			"a", "a", "FROM a@ AS 0|L|RUN one \t two  three",
		},
		{"escape directive", "# escape=`\nFROM a\nRUN dir C:\\ `\n more\n", Options{}, "a", "a", "# escape=`|FROM a@ AS 0|L|RUN dir C:\\  more"},
		{"a directive after a comment is none", "# x\n# escape=`\nFROM a\nRUN a \\\nb", Options{}, "a", "a", "FROM a@ AS 0|L|RUN a b"},
		{
			"stages by name and number", "FROM a AS Build\nFROM b:1 as other\nFROM BUILD\nCOPY --from=build /x /x\nCOPY --chown=1:1 --from=1 /y /y\nCOPY --from=c:2 /z /z\n",
			Options{},
			"a b:1 c:2", "a",
			"FROM a@ AS 0|L|FROM b:1@ AS 1|L|FROM 0 AS 2|L|COPY --from=0 /x /x|COPY --chown=1:1 --from=1 /y /y|COPY --from=c:2@ /z /z",
		},
		{"a stage is no image of its own name", "FROM a AS a\nFROM a\n", Options{}, "a", "a", "FROM a@ AS 0|L|FROM 0 AS 1|L"},
		{"a later stage is not before", "FROM b AS a\nCOPY --from=c / /\nFROM d AS c\n", Options{}, "b c d", "d", "FROM b@ AS 0|L|COPY --from=c@ / /|FROM d@ AS 1|L"},
		{"target by name", "FROM a AS x\nRUN 1\nFROM b\nRUN --mount=type=cache true\n", Options{Target: "X"}, "", "", "needs BuildKit"},
		{"target leaves out later stages", "FROM a AS x\nRUN 1\nFROM b\n", Options{Target: "X"}, "a", "a", "FROM a@ AS 0|L|RUN 1"},
		{"target by number", "FROM a\nFROM b\nFROM c\n", Options{Target: "1"}, "a b", "b", "FROM a@ AS 0|L|FROM b@ AS 1|L"},
		{"no such target", "FROM a AS x\nFROM b\n", Options{Target: "y"}, "", "", `Dockerfile has no stage "y"; it has x, 0 to 1`},
		{
			"arguments", "ARG V=3 NAME=\"al\"pine\nARG FULL=${NAME}:$V\nFROM ${FULL}\nFROM x:${NO:-1}${V:+-$V}\n",
			Options{},
			"alpine:3 x:1-3", "x:1-3", "ARG V=3 NAME=\"al\"pine|ARG FULL=${NAME}:$V|FROM alpine:3@ AS 0|L|FROM x:1-3@ AS 1|L",
		},
		{"arguments of the pipeline file", "ARG V=3\nFROM a:$V\n", Options{Args: map[string]string{"V": "4"}}, "a:4", "a:4", "ARG V=3|FROM a:4@ AS 0|L"},
		{"argument without a value", "ARG V\nFROM a:$V\n", Options{}, "", "", "Dockerfile:2: FROM a:$V: $V is not known here"},
		{"argument of an argument without", "ARG V=$W\nFROM a:$V\n", Options{}, "", "", "Dockerfile:2: FROM a:$V: $V is not known"},
		{"argument of a stage", "FROM b\nARG V=1\nFROM a:$V\n", Options{}, "", "", "Dockerfile:3: FROM a:$V: $V is not known"},
		{"a file that breaks out", "ARG V=\"a\nFROM x\"\nFROM $V\n", Options{}, "", "", "FROM"},
		{"two words from an argument", "FROM $V\n", Options{Args: map[string]string{"V": "a AS b"}}, "", "", "is not known"},
		{"two words from a declared argument", "ARG V\nFROM $V\n", Options{Args: map[string]string{"V": "a AS b"}}, "", "", "is no image"},
		{"platform", "FROM --platform=$BUILDPLATFORM a\nFROM --platform=linux/amd64 b-$TARGETARCH\n", Options{}, "a b-amd64", "b-amd64", "FROM a@ AS 0|L|FROM b-amd64@ AS 1|L"},
		{"other platform", "FROM --platform=linux/arm64 a\n", Options{}, "", "", "for the engine's own platform, linux/amd64"},
		{"onbuild", "FROM a\nONBUILD RUN true\n", Options{}, "a", "a", "FROM a@ AS 0|L|ONBUILD RUN true"},
		{"address with the network on", "FROM a\nADD https://x/y /y\n", Options{Network: true}, "a", "a", "FROM a@ AS 0|L|ADD https://x/y /y"},
		{"variable within a path", "FROM a\nADD artifact/$X-1.tar /y\n", Options{}, "a", "a", "FROM a@ AS 0|L|ADD artifact/$X-1.tar /y"},
		{"shift is no heredoc", "FROM a\nRUN echo $((1<<2)) && cat <<<word && echo \"a <<b\"\n", Options{}, "a", "a", "FROM a@ AS 0|L|RUN echo $((1<<2)) && cat <<<word && echo \"a <<b\""},

		{"nothing", "# only\n", Options{}, "", "", "Dockerfile has no FROM"},
		{"before the first", "RUN true\nFROM a\n", Options{}, "", "", "Dockerfile:1: RUN before the first FROM"},
		{"unknown", "FROM a\nRUNN true\n", Options{}, "", "", `Dockerfile:2: unknown instruction "RUNN"`},
		{"syntax directive", "# syntax=docker/dockerfile:1\nFROM a\n", Options{}, "", "", "Dockerfile:1: # syntax loads another reader"},
		{"syntax directive, spaced and after escape", "#escape=\\\n  #  SynTax = x\nFROM a\n", Options{}, "", "", "Dockerfile:2: # syntax"},
		{"mount", "FROM a\nRUN --mount=type=cache,target=/c make\n", Options{}, "", "", "Dockerfile:2: RUN --mount needs BuildKit"},
		{"network of a RUN", "FROM a\nRUN --network=host make\n", Options{}, "", "", "RUN --network needs BuildKit"},
		{"link", "FROM a\nCOPY --link x /x\n", Options{}, "", "", "COPY --link needs BuildKit"},
		{"heredoc", "FROM a\nRUN <<EOF\ntrue\nEOF\n", Options{}, "", "", "Dockerfile:2: RUN <<EOF: texts in the file (heredocs) need BuildKit"},
		{"heredoc of COPY", "FROM a\nCOPY <<-\"EOF\" /x\ntrue\nEOF\n", Options{}, "", "", "heredocs"},
		{"heredoc after a continuation", "FROM a\nRUN cat \\\n 3<<'E' >x\n", Options{}, "", "", "heredocs"},
		{"quoted flag", "FROM a\nCOPY --from=\"b\" / /\n", Options{}, "", "", "without quotes"},
		{"variable in --from", "FROM a\nCOPY --from=$X / /\n", Options{}, "", "", "no variables"},
		{"number of a later stage", "FROM a\nCOPY --from=0 / /\n", Options{}, "", "", "no such stage"},
		{"onbuild from", "FROM a\nONBUILD COPY --from=evil / /\n", Options{}, "", "", "ONBUILD COPY --from"},
		{"onbuild mount", "FROM a\nONBUILD RUN --mount=type=bind true\n", Options{}, "", "", "needs BuildKit"},
		{"onbuild address", "FROM a\nONBUILD ADD https://x /\n", Options{}, "", "", "Dockerfile:2: ADD https://x: the engine would fetch it"},
		{"address", "FROM a\nADD --chown=1 https://x/y /y\n", Options{}, "", "", "the network is off"},
		{"address among others", "FROM a\nADD artifact/a http://x/y /y/\n", Options{}, "", "", "ADD http://x/y"},
		{"address in a list", "FROM a\nADD [\"https://x/y\", \"/y\"]\n", Options{}, "", "", "the network is off"},
		{"address in quotes", "FROM a\nADD \"ht\"'tp'\\s://x /y\n", Options{}, "", "", "the network is off"},
		{"address of git", "FROM a\nADD git@example.com:x.git /y\n", Options{}, "", "", "the network is off"},
		{"address in a variable", "FROM a\nARG U=https://x\nADD $U /y\n", Options{}, "", "", "its variable may hold an address"},
		{"address begun", "FROM a\nADD HTT${P}://x /y\n", Options{}, "", "", "the network is off"},
		{"two marks", "FROM a\nRUN x \\\\\nFROM evil\n", Options{}, "", "", `the line ends with \\`},
		{"a mark, and one within", "FROM a\nRUN x \\ \\\n\nENV A=\\", Options{}, "a", "a", `FROM a@ AS 0|L|RUN x \ ENV A=`},
		{"mark before nothing", "FROM a\nRUN x \\ \\", Options{}, "", "", `ends with \`},
		{"null", "FROM a\nRUN \x00\n", Options{}, "", "", "Dockerfile:2: a control character"},
		{"carriage return within", "FROM a\rFROM b\n", Options{}, "", "", "Dockerfile:1: a control character"},
		{"no text", "FROM \xff\n", Options{}, "", "", "not text"},
		{"long line", "FROM a\nRUN " + strings.Repeat("x", 64<<10), Options{}, "", "", "the limit is"},
		{"long file", strings.Repeat("# \n", 100<<10), Options{}, "", "", "the limit is"},
		{"many stages", strings.Repeat("FROM a\n", 101), Options{}, "", "", "more than 100 stages"},
		{"many instructions", "FROM a\n" + strings.Repeat("RUN x\n", 1000), Options{}, "", "", "more than 1000"},
		{"growing arguments", "ARG A=" + strings.Repeat("x", 99) + "\n" + strings.Repeat("ARG A=$A$A$A$A\n", 200) + "FROM $A\n", Options{}, "", "", "is not known"},
		{"deep braces", "FROM " + strings.Repeat("${A:-", 1000) + strings.Repeat("}", 1000) + "\n", Options{}, "", "", "write ${NAME}"},
		{"open brace", "FROM ${A:-x\n", Options{}, "", "", "never closed"},
		{"open quote", "ARG A=\"x\nFROM $A\n", Options{}, "", "", "is not known"},
		{"words of FROM", "FROM a b\n", Options{}, "", "", "write FROM image"},
		{"name of a stage", "FROM a AS 1x\n", Options{}, "", "", "no name of a stage"},
		{"a flag as image", "FROM -x\n", Options{}, "", "", "is no image"},
	} {
		b, err := build(tt.text, tt.options)
		if tt.base == "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: got %v, want an error with %q", tt.name, err, tt.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		text, lines := b.Text(pinAll(b), map[string]string{"l": "1"})
		got := strings.NewReplacer("millrace-stage-", "", digest, "@", `LABEL "l"="1"`, "L", "\n", "|").Replace(strings.TrimSuffix(text, "\n"))
		if diff := cmp.Diff([]string{tt.images, tt.base, tt.want}, []string{strings.Join(b.Images, " "), b.Base, got}); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
		if n := strings.Count(text, "\n") - strings.Count(text, "# escape"); n != len(lines) {
			t.Errorf("%s: %d lines are told, the text has %d", tt.name, len(lines), n)
		}
	}
}

// Instructions are told by their lines in the file, whatever is put between them.
func TestLines(t *testing.T) {
	b, err := build("# x\nARG V=1\nFROM a:$V AS x\n\nRUN a \\\n b\n", Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, got := b.Text(pinAll(b), nil)
	if diff := cmp.Diff([]Line{{2, "ARG V=1"}, {3, "FROM a:$V AS x"}, {}, {5, "RUN a  b"}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestArgs(t *testing.T) {
	b, err := build("FROM a\nARG TARGETARCH\nARG SOURCE_DATE_EPOCH MORE=1\nRUN true\n", Options{Args: map[string]string{"A": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	got := b.Args(map[string]string{"SOURCE_DATE_EPOCH": "7", "OTHER": "x"})
	if diff := cmp.Diff(map[string]string{"A": "b", "TARGETARCH": "amd64", "SOURCE_DATE_EPOCH": "7"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestCheckTriggers(t *testing.T) {
	for trigger, bad := range map[string]bool{
		"RUN true": false, "COPY . /app": false, "ADD https://x /": true, "COPY --from=evil / /": true, "RUN --mount=type=bind x": true,
		"RUN true\nADD https://x /": true, "ONBUILD ADD https://x /": true, "": false,
	} {
		if err := CheckTriggers("base", []string{trigger}, false); (err != nil) != bad {
			t.Errorf("%q: got %v, want an error: %t", trigger, err, bad)
		}
	}
	if err := CheckTriggers("base", []string{"ADD https://x /"}, true); err != nil {
		t.Error(err)
	}
}

// Whatever a file is, what the engine gets names no image without its pin, and reads the
// same again.
func FuzzBuild(f *testing.F) {
	for _, text := range []string{
		"FROM a\nRUN x \\\n y\n", "# escape=`\nFROM a AS b\nCOPY --from=b x `\n y\n", "ARG A=1\nFROM ${A:-x} AS s\nFROM s\nADD [\"a\",\"b\"]\nONBUILD RUN x\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b, err := build(text, Options{})
		if err != nil {
			return
		}
		out, lines := b.Text(pinAll(b), nil)
		again, err := build(strings.ReplaceAll(out, "LABEL \n", "LABEL x=y\n"), Options{})
		if err != nil {
			t.Fatalf("%q became %q: %v", text, out, err)
		}
		if len(again.meta)+count(again) != len(lines) {
			t.Fatalf("%q became %q: %d instructions are %d", text, out, len(lines), len(again.meta)+count(again))
		}
		for _, image := range again.Images {
			if !strings.HasSuffix(image, digest) {
				t.Fatalf("%q became %q with %s", text, out, image)
			}
		}
	})
}

func count(b *Build) (n int) {
	for _, s := range b.stages {
		n += 1 + len(s.inside)
	}
	return n
}

func ExampleBuild_Text() {
	f, _ := Parse("Dockerfile", []byte("ARG VERSION=3\nFROM alpine:$VERSION AS base\nFROM base\nCOPY --from=base /etc/passwd /etc/\n"))
	b, _ := f.Build(Options{Platform: "linux/amd64"})
	text, _ := b.Text(map[string]string{"alpine:3": "alpine@sha256:1111"}, map[string]string{"by": "me"})
	fmt.Print(text)
	// Output:
	// ARG VERSION=3
	// FROM alpine@sha256:1111 AS millrace-stage-0
	// LABEL "by"="me"
	// FROM millrace-stage-0 AS millrace-stage-1
	// LABEL "by"="me"
	// COPY --from=millrace-stage-0 /etc/passwd /etc/
}
