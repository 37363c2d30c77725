// Package dockerfile reads Dockerfiles, as far as it takes to know what they are made
// of: their stages, and the images that come from elsewhere.
//
// It writes them anew for the engine's classic builder, one instruction in a line, with
// every image from elsewhere by its pin. So it does not matter where an engine's reader
// and this one see a text differently: what was understood here is all that the engine
// gets. What only BuildKit can do is refused by name.
//
// All its errors are the file's fault and begin with its name and line.
package dockerfile

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// The limits of a file.
const (
	MaxBytes        = 256 << 10
	maxInstructions = 1000
	maxLine         = 60 << 10 // bytes of an instruction; engines read lines of less than 64 KiB
)

// File is a Dockerfile that was read.
type File struct {
	name         string
	escape       byte
	instructions []instruction
}

// instruction is one, without comments and continuations.
type instruction struct {
	line  int      // its first, from 1
	name  string   // in capitals
	flags []string // with their dashes
	rest  string   // on one line, as the file has it
}

func (i instruction) String() string {
	return strings.TrimSpace(strings.Join(slices.Concat([]string{i.name}, i.flags, []string{i.rest}), " "))
}

// Parse reads the text of a file, which is called name in errors.
func Parse(name string, text []byte) (*File, error) {
	f := &File{name: name, escape: '\\'}
	switch {
	case len(text) > MaxBytes:
		return nil, fmt.Errorf("%s has %d bytes, the limit is %d", name, len(text), MaxBytes)
	case !utf8.Valid(text):
		return nil, fmt.Errorf("%s is not text: save it as UTF-8", name)
	}
	lines := strings.Split(strings.TrimPrefix(string(text), "\uFEFF"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], "\r")
		if strings.ContainsFunc(lines[i], func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return nil, f.wrong(i+1, "a control character")
		}
	}
	if err := f.directives(lines); err != nil {
		return nil, err
	}
	return f, f.read(lines)
}

// wrong is an error at a line.
func (f *File) wrong(line int, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", f.name, line, fmt.Sprintf(format, args...))
}

// isDirective is a comment that means something, in front of all others.
var isDirective = regexp.MustCompile(`^#[ \t]*([A-Za-z][A-Za-z0-9]*)[ \t]*=[ \t]*(.+?)[ \t]*$`)

func (f *File) directives(lines []string) error {
	for i, line := range lines {
		m := isDirective.FindStringSubmatch(strings.TrimLeft(line, blanks))
		if m == nil {
			return nil
		}
		switch key, value := strings.ToLower(m[1]), m[2]; {
		case key == "syntax":
			return f.wrong(i+1, "# syntax loads another reader of the file, which needs BuildKit; remove the line")
		case key == "check":
		case key != "escape":
			return nil
		case value != `\` && value != "`":
			return f.wrong(i+1, "escape is %q; it can be \\ or `", value)
		default:
			f.escape = value[0]
		}
	}
	return nil
}

const blanks = " \t"

func isComment(line string) bool { return strings.HasPrefix(strings.TrimLeft(line, blanks), "#") }

// read joins lines to instructions.
func (f *File) read(lines []string) error {
	for i := 0; i < len(lines); i++ {
		if isComment(lines[i]) || strings.Trim(lines[i], blanks) == "" {
			continue
		}
		first := i + 1
		text, more, err := f.part(first, lines[i])
		for more && err == nil && i+1 < len(lines) {
			i++
			if isComment(lines[i]) || strings.Trim(lines[i], blanks) == "" {
				continue
			}
			var part string
			part, more, err = f.part(i+1, lines[i])
			text += part
		}
		if err != nil {
			return err
		}
		if err := f.add(first, strings.TrimSpace(text)); err != nil {
			return err
		}
	}
	return nil
}

// part is a line without the mark that the next one continues it. Of two marks in a row,
// old engines take one for a mark, and new ones both for text.
func (f *File) part(number int, line string) (text string, more bool, err error) {
	text, more = strings.CutSuffix(strings.TrimRight(line, blanks), string(f.escape))
	if !more {
		return line, false, nil
	}
	if strings.HasSuffix(text, string(f.escape)) {
		return "", false, f.wrong(number, "the line ends with %c%c, which engines read in different ways", f.escape, f.escape)
	}
	return text, true, nil
}

func (f *File) add(line int, text string) error {
	switch {
	case len(f.instructions) == maxInstructions:
		return f.wrong(line, "this is one of more than %d instructions", maxInstructions)
	case len(text) > maxLine:
		return f.wrong(line, "the instruction has %d bytes, the limit is %d", len(text), maxLine)
	case strings.HasSuffix(text, string(f.escape)):
		return f.wrong(line, "the instruction ends with %c, and nothing follows it", f.escape)
	}
	i, err := f.instruction(line, text)
	if err == nil {
		f.instructions = append(f.instructions, i)
	}
	return err
}

// flagsOf are the instructions, with the flags that the classic builder knows of each.
var flagsOf = map[string][]string{ //nolint:gochecknoglobals // a constant, if Go had constant maps
	"ADD": {"--chown"}, "ARG": nil, "CMD": nil, "COPY": {"--chown", "--from"}, "ENTRYPOINT": nil, "ENV": nil, "EXPOSE": nil,
	"FROM": {"--platform"}, "HEALTHCHECK": {"--interval", "--timeout", "--start-period", "--retries"}, "LABEL": nil,
	"MAINTAINER": nil, "ONBUILD": nil, "RUN": nil, "SHELL": nil, "STOPSIGNAL": nil, "USER": nil, "VOLUME": nil, "WORKDIR": nil,
}

func (f *File) instruction(line int, text string) (i instruction, err error) {
	word, rest := cut(text)
	i = instruction{line: line, name: strings.ToUpper(word), rest: rest}
	known, ok := flagsOf[i.name]
	if !ok {
		return i, f.wrong(line, "unknown instruction %.80q", word)
	}
	for slices.Contains([]string{"ADD", "COPY", "FROM", "HEALTHCHECK", "RUN"}, i.name) && strings.HasPrefix(i.rest, "--") {
		var flag string
		flag, i.rest = cut(i.rest)
		if err := f.flag(line, i.name, flag, known); err != nil {
			return i, err
		}
		i.flags = append(i.flags, flag)
	}
	if slices.Contains([]string{"ADD", "COPY", "RUN"}, i.name) {
		return i, f.noHeredoc(i)
	}
	return i, nil
}

// cut separates the first word.
func cut(text string) (word, rest string) {
	end := strings.IndexAny(text, blanks)
	if end < 0 {
		return text, ""
	}
	return text[:end], strings.TrimLeft(text[end:], blanks)
}

func (f *File) flag(line int, instruction, flag string, known []string) error {
	name, value, _ := strings.Cut(flag, "=")
	switch {
	case !slices.Contains(known, name):
		return f.wrong(line, "%s %.80s needs BuildKit, which builds no release; write it without", instruction, name)
	case value == "" || strings.ContainsAny(value, "\"'"+string(f.escape)):
		return f.wrong(line, "%s %.80q: write the flag as %s=value, without quotes", instruction, flag, name)
	}
	return nil
}

// isHeredoc is a word that begins a text in the lines below.
var isHeredoc = regexp.MustCompile(`^[0-9]*<<-?[^<]+$`)

func (f *File) noHeredoc(i instruction) error {
	for _, word := range words(i.rest, f.escape) {
		if isHeredoc.MatchString(word) {
			return f.wrong(i.line, "%s %.80s: texts in the file (heredocs) need BuildKit, which builds no release; use printf, or put the text into the artifact", i.name, word)
		}
	}
	return nil
}
