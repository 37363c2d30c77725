package dockerfile

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Options are what a build of a file depends on besides it.
type Options struct {
	Args     map[string]string // go before the file's defaults
	Target   string            // stage to build, by name or number; "" is the last
	Platform string            // os/arch of the engine, which builds for no other
	Network  bool              // false: the engine must not fetch anything either
}

// Scratch is the base of an image that begins with nothing.
const Scratch = "scratch"

// Build is a build of a file.
type Build struct {
	// Images are those from elsewhere, as the file names them, with its variables filled
	// in; in its order, each once.
	Images []string
	// Base is the image that the result begins with: one of Images, or Scratch.
	Base string

	file    *File
	options Options
	meta    []instruction // before the first stage
	stages  []stage       // up to the target
	values  map[string]string
}

// stage is one of a file.
type stage struct {
	from   source
	as     string // in small letters; "" without a name
	begin  instruction
	inside []instruction
}

// source is where something comes from: an earlier stage, or an image.
type source struct {
	stage int // from 0; -1 for an image
	image string
}

const maxStages = 100

// Build finds out what a build is made of.
func (f *File) Build(o Options) (*Build, error) {
	b := &Build{file: f, options: o}
	b.values = b.automatic()
	for _, i := range f.instructions {
		if err := b.add(i); err != nil {
			return nil, err
		}
	}
	if len(b.stages) == 0 {
		return nil, fmt.Errorf("%s has no FROM", f.name)
	}
	target, err := b.target()
	if err != nil {
		return nil, err
	}
	b.stages = b.stages[:target+1]
	if err := b.inspect(); err != nil {
		return nil, err
	}
	for ; b.stages[target].from.stage >= 0; target = b.stages[target].from.stage {
	}
	b.Base = b.stages[target].from.image
	return b, nil
}

// automatic are arguments that a file may ask for without anybody giving them.
func (b *Build) automatic() map[string]string {
	system, architecture, _ := strings.Cut(b.options.Platform, "/")
	return map[string]string{
		"TARGETPLATFORM": b.options.Platform, "TARGETOS": system, "TARGETARCH": architecture, "TARGETVARIANT": "",
		"BUILDPLATFORM": b.options.Platform, "BUILDOS": system, "BUILDARCH": architecture, "BUILDVARIANT": "",
	}
}

func (b *Build) look(name string) (string, bool) {
	value, ok := b.values[name]
	return value, ok
}

// add takes the next instruction to the stage that it is in.
func (b *Build) add(i instruction) error {
	switch {
	case i.name == "FROM":
		return b.begin(i)
	case len(b.stages) > 0:
		last := &b.stages[len(b.stages)-1]
		last.inside = append(last.inside, i)
		return nil
	case i.name != "ARG":
		return b.file.wrong(i.line, "%s before the first FROM; only ARG may stand there", i.name)
	}
	b.meta = append(b.meta, i)
	for _, word := range words(i.rest, b.file.escape) {
		name, value, filled := strings.Cut(word, "=")
		given, ok := b.options.Args[name]
		if ok {
			b.values[name] = given
		}
		if ok || !filled {
			continue
		}
		expanded, err := expand(value, b.file.escape, b.look)
		if b.values[name] = expanded; err != nil {
			delete(b.values, name) // whoever uses it is told that it is not known
		}
	}
	return nil
}

var isStageName = regexp.MustCompile(`^[a-z][a-z0-9_.-]{0,127}$`)

// begin begins a stage.
func (b *Build) begin(i instruction) error {
	parts := words(i.rest, b.file.escape)
	s := stage{begin: i}
	switch {
	case len(b.stages) == maxStages:
		return b.file.wrong(i.line, "this is one of more than %d stages", maxStages)
	case len(parts) == 3 && strings.EqualFold(parts[1], "AS"):
		if s.as = strings.ToLower(parts[2]); !isStageName.MatchString(s.as) {
			return b.file.wrong(i.line, "%.80q is no name of a stage", parts[2])
		}
	case len(parts) != 1:
		return b.file.wrong(i.line, "write FROM image, or FROM image AS stage")
	}
	for _, flag := range i.flags {
		if err := b.platform(i.line, strings.TrimPrefix(flag, "--platform=")); err != nil {
			return err
		}
	}
	image, err := expand(parts[0], b.file.escape, b.look)
	if err != nil {
		return b.file.wrong(i.line, "FROM %.200s: %v", parts[0], err)
	}
	if !isImage.MatchString(image) {
		return b.file.wrong(i.line, "FROM %.200s: %.200q is no image", parts[0], image)
	}
	if s.from = b.named(image); s.from.stage < 0 {
		s.from.image = image
	}
	b.stages = append(b.stages, s)
	return nil
}

// isImage keeps out what would be more than one word where it is written; whether there
// is such an image, registries know.
var isImage = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/@+-]*$`)

// platform makes sure that what a flag says is where the build runs.
func (b *Build) platform(line int, flag string) error {
	value, err := expand(flag, b.file.escape, b.look)
	if err != nil {
		return b.file.wrong(line, "--platform=%.80s: %v", flag, err)
	}
	if strings.ToLower(value) != b.options.Platform {
		return b.file.wrong(line, "--platform=%.80s: a Dockerfile is built for the engine's own platform, %s", value, b.options.Platform)
	}
	return nil
}

// named is the newest stage of a name.
func (b *Build) named(name string) source {
	for n, s := range slices.Backward(b.stages) {
		if s.as != "" && s.as == strings.ToLower(name) {
			return source{stage: n}
		}
	}
	return source{stage: -1}
}

// target is the number of the stage to build.
func (b *Build) target() (int, error) {
	want := b.options.Target
	if want == "" {
		return len(b.stages) - 1, nil
	}
	if s := b.named(want); s.stage >= 0 {
		return s.stage, nil
	}
	if n, err := strconv.Atoi(want); err == nil && n >= 0 && n < len(b.stages) {
		return n, nil
	}
	var names []string
	for _, s := range b.stages {
		if s.as != "" {
			names = append(names, s.as)
		}
	}
	return 0, fmt.Errorf("%s has no stage %.80q; it has %s", b.file.name, want, strings.Join(append(names, fmt.Sprintf("0 to %d", len(b.stages)-1)), ", "))
}

// inspect lists the images, and refuses what must not be built.
func (b *Build) inspect() error {
	for n, s := range b.stages {
		if s.from.stage < 0 && s.from.image != Scratch {
			b.use(s.from.image)
		}
		for _, i := range s.inside {
			from, err := b.from(n, i)
			if err != nil {
				return err
			}
			if from.image != "" {
				b.use(from.image)
			}
			if err := b.file.check(i, b.options.Network); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *Build) use(image string) {
	if !slices.Contains(b.Images, image) {
		b.Images = append(b.Images, image)
	}
}

// from is what an instruction of the n-th stage copies from. Without --from it is the
// context: no image and no stage.
func (b *Build) from(n int, i instruction) (source, error) {
	for _, flag := range i.flags {
		value, is := strings.CutPrefix(flag, "--from=")
		if !is {
			continue
		}
		until := Build{stages: b.stages[:n]}
		if s := until.named(value); s.stage >= 0 {
			return s, nil
		}
		if number, err := strconv.Atoi(value); err == nil {
			if number < 0 || number >= n {
				return source{}, b.file.wrong(i.line, "COPY --from=%s: there is no such stage before this one", value)
			}
			return source{stage: number}, nil
		}
		if !isImage.MatchString(value) {
			return source{}, b.file.wrong(i.line, "COPY --from=%.200s: write the name or number of a stage before, or an image; no variables", value)
		}
		return source{stage: -1, image: value}, nil
	}
	return source{stage: -1}, nil
}

// check refuses what the engine would fetch by itself.
func (f *File) check(i instruction, network bool) error {
	if i.name == "ONBUILD" {
		trigger, err := f.instruction(i.line, i.rest)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(trigger.flags, func(flag string) bool { return strings.HasPrefix(flag, "--from=") }) {
			return f.wrong(i.line, "ONBUILD COPY --from: the image of a later build cannot be pinned by this one")
		}
		return f.check(trigger, network)
	}
	if i.name != "ADD" || network {
		return nil
	}
	sources := words(i.rest, f.escape)
	var list []string
	if json.Unmarshal([]byte(i.rest), &list) == nil {
		sources = list
	}
	for _, s := range sources[:max(0, len(sources)-1)] {
		if reason := f.fetched(s); reason != "" {
			return f.wrong(i.line, "ADD %.200s: %s; put the file into the artifact, or say release.dockerfile.network: true", s, reason)
		}
	}
	return nil
}

// fetched tells why a source may be an address.
func (f *File) fetched(source string) string {
	literal, variable := literal(source, f.escape)
	if strings.Contains(literal, "://") || strings.HasPrefix(literal, "git@") {
		return "the engine would fetch it, and the network is off"
	}
	if !variable {
		return ""
	}
	for _, address := range []string{"http://", "https://", "git@", "git://", "ssh://"} {
		if strings.HasPrefix(address, strings.ToLower(literal)) {
			return "its variable may hold an address, which the engine would fetch, and the network is off"
		}
	}
	return ""
}

// literal is a word without quotes, up to its first variable.
func literal(word string, escape byte) (text string, variable bool) {
	var out strings.Builder
	for i := 0; i < len(word); i++ {
		switch c := word[i]; {
		case c == '$':
			return out.String(), true
		case c == '"' || c == '\'':
		case c == escape && i+1 < len(word):
			i++
			out.WriteByte(word[i])
		default:
			out.WriteByte(c)
		}
	}
	return out.String(), false
}

// CheckTriggers refuses an image whose ONBUILD triggers, which run in every build from
// it, fetch something that nobody pinned.
func CheckTriggers(image string, triggers []string, network bool) error {
	for _, t := range triggers {
		f, err := Parse("ONBUILD of "+image, []byte(t))
		if err != nil {
			return err
		}
		for _, i := range f.instructions {
			if err := f.check(instruction{line: i.line, name: "ONBUILD", rest: i.String()}, network); err != nil {
				return err
			}
		}
	}
	return nil
}

// Args are the arguments for the engine: those given, and of the automatic ones and more
// those that the file asks for.
func (b *Build) Args(more map[string]string) map[string]string {
	all := b.automatic()
	maps.Copy(all, more)
	asked := map[string]bool{}
	for _, s := range b.stages {
		for _, i := range s.inside {
			if i.name == "ARG" {
				for _, word := range words(i.rest, b.file.escape) {
					asked[word] = true
				}
			}
		}
	}
	maps.DeleteFunc(all, func(name, _ string) bool { return !asked[name] })
	maps.Copy(all, b.options.Args)
	return all
}

// Line is a line of [Build.Text].
type Line struct {
	Number int    // in the file; 0 for one that it does not have
	Text   string // as the file has it
}

// Text is the Dockerfile for the engine, up to the target, and which of the file's
// instructions its instructions are. Pins are the names of Images that always mean the
// same bytes; each of them is there. What the build makes carries the labels on its way:
// each is a word that needs no quotes in double quotes.
func (b *Build) Text(pins, labels map[string]string) (string, []Line) {
	var out strings.Builder
	var lines []Line
	put := func(number int, original, text string) {
		lines = append(lines, Line{number, original})
		out.WriteString(text + "\n")
	}
	if b.file.escape != '\\' {
		fmt.Fprintf(&out, "# escape=%c\n", b.file.escape)
	}
	for _, i := range b.meta {
		put(i.line, i.String(), i.String())
	}
	for n, s := range b.stages {
		put(s.begin.line, s.begin.String(), fmt.Sprintf("FROM %s AS %s", s.from.pinned(pins), stageName(n)))
		put(0, "", "LABEL "+pairs(labels))
		for _, i := range s.inside {
			put(i.line, i.String(), b.pinned(n, i, pins).String())
		}
	}
	return out.String(), lines
}

// stageName is what the engine knows the n-th stage by: no image is called so.
func stageName(n int) string { return fmt.Sprintf("millrace-stage-%d", n) }

func (s source) pinned(pins map[string]string) string {
	switch {
	case s.stage >= 0:
		return stageName(s.stage)
	case s.image == Scratch:
		return Scratch
	}
	return pins[s.image]
}

// pinned is an instruction that copies from what was found out.
func (b *Build) pinned(n int, i instruction, pins map[string]string) instruction {
	from, err := b.from(n, i)
	if err != nil || from.stage < 0 && from.image == "" {
		return i
	}
	i.flags = slices.Clone(i.flags)
	for k, flag := range i.flags {
		if strings.HasPrefix(flag, "--from=") {
			i.flags[k] = "--from=" + from.pinned(pins)
		}
	}
	return i
}

func pairs(labels map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		all = append(all, fmt.Sprintf("%q=%q", name, labels[name]))
	}
	return strings.Join(all, " ")
}
