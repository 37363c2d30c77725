package sbom

import (
	"archive/tar"
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
)

const (
	window     = 256 << 10 // bytes of a binary that are looked at together
	maxVersion = 256       // bytes of the toolchain's version
	maxModules = 1 << 20   // bytes of the list of modules
	maxBuilds  = 16        // programs in one file: some carry others in them
)

// The linker writes the build information to an address that is a multiple of 16, in
// the file as well: 14 bytes to know it by, the size of a pointer, flags, 16 bytes that
// older versions use, then two strings, each after its length.
const (
	buildMagic  = "\xff Go buildinf:"
	buildAlign  = 16
	buildHeader = 32
	buildFlags  = 15
	isInline    = 2
)

var (
	errOldGo  = errors.New("it was built by a version of Go before 1.18, its modules cannot be read")
	errBuilds = errors.New("there are many programs in it, the last ones were not read")
)

// binary is who reads a program, or nil where the content is none.
func (s *scanner) binary(h *tar.Header, content io.Reader) teller {
	head := make([]byte, 4)
	if h.Size < buildHeader {
		return nil
	}
	if _, err := io.ReadFull(content, head); err != nil || !isProgram(string(head)) {
		return nil
	}
	return func(rest io.Reader, c *collector) error {
		s.stream.Reset(io.MultiReader(bytes.NewReader(head), rest))
		return goBinary(s.stream, c)
	}
}

// isProgram knows ELF, 64-bit Mach-O and PE by how they begin.
func isProgram(head string) bool {
	return head == "\x7fELF" || head == "\xcf\xfa\xed\xfe" || strings.HasPrefix(head, "MZ")
}

// goBinary looks for build information in the bytes of a binary as they pass by. Package
// debug/buildinfo would need the whole file at hand, and trusts its headers.
func goBinary(in *bufio.Reader, c *collector) error {
	for builds := 0; builds < maxBuilds; {
		data, err := in.Peek(window)
		at := findBuild(data)
		if at < 0 {
			if _, _ = in.Discard(len(data)); err != nil {
				return endOf(err)
			}
			continue
		}
		_, _ = in.Discard(at) // is there
		read, err := readBuild(in, c)
		if err != nil {
			return err
		}
		if read > 0 {
			builds++
		}
		if _, err := in.Discard(max(buildAlign, (read+buildAlign-1)/buildAlign*buildAlign) - read); err != nil {
			return endOf(err)
		}
	}
	return errBuilds
}

func endOf(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// findBuild is where build information may begin, or -1.
func findBuild(data []byte) int {
	magic := []byte(buildMagic)
	first := binary.LittleEndian.Uint64(magic)
	for at := 0; at+buildAlign <= len(data); at += buildAlign {
		if binary.LittleEndian.Uint64(data[at:]) == first && bytes.HasPrefix(data[at:], magic) {
			return at
		}
	}
	return -1
}

// readBuild reads build information. It takes no byte where there is none: programs
// that look for the magic bytes themselves have them somewhere else too.
func readBuild(in *bufio.Reader, c *collector) (int, error) {
	head, _ := in.Peek(buildHeader + binary.MaxVarintLen64 + maxVersion + binary.MaxVarintLen64)
	if len(head) < buildHeader {
		return 0, nil
	}
	if flags, pointer := head[buildFlags], head[buildFlags-1]; flags&isInline == 0 {
		if flags <= 1 && (pointer == 4 || pointer == 8) && len(c.packages) == 0 {
			return 0, errOldGo
		}
		return 0, nil
	}
	version, rest, ok := cutText(head[buildHeader:], maxVersion)
	if !ok || !strings.HasPrefix(version, "go") && !strings.HasPrefix(version, "devel") {
		return 0, nil
	}
	size, n := binary.Uvarint(rest)
	if n <= 0 || size > maxModules {
		return 0, nil
	}
	read := len(head) - len(rest) + n
	if _, err := in.Discard(read); err != nil {
		return 0, err
	}
	// The size is only a word of the file, so no memory is taken for it in advance.
	modules, err := io.ReadAll(io.LimitReader(in, int64(size))) //nolint:gosec // it is below maxModules
	if err == nil && uint64(len(modules)) < size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return 0, fmt.Errorf("its list of modules: %w", err)
	}
	return read + len(modules), tellBuild(version, modules, c)
}

// cutText cuts a string that follows its length.
func cutText(data []byte, limit uint64) (text string, rest []byte, ok bool) {
	size, n := binary.Uvarint(data)
	if n <= 0 || size > limit || size > uint64(len(data)-n) {
		return "", nil, false
	}
	end := n + int(size) //nolint:gosec // it is within the data
	return string(data[n:end]), data[end:], true
}

func tellBuild(version string, modules []byte, c *collector) error {
	c.add(Package{Type: typeGo, Name: "stdlib", Version: goVersion(version)})
	if len(modules) < 33 || modules[len(modules)-17] != '\n' {
		return nil // built without modules
	}
	info, err := debug.ParseBuildInfo(string(modules[16 : len(modules)-16])) // 16 bytes mark each end
	if err != nil {
		return fmt.Errorf("its list of modules: %w", err)
	}
	if info.Main.Path != "" {
		c.add(Package{Type: typeGo, Name: info.Main.Path, Version: moduleVersion(info.Main.Version), Main: true})
	}
	for _, m := range info.Deps {
		c.add(module(m))
	}
	return nil
}

// module is a dependency, or what it was replaced by. What was replaced by a directory
// has no version that anyone knows.
func module(m *debug.Module) Package {
	if r := m.Replace; r != nil && moduleVersion(r.Version) != "" {
		m = r
	} else if r != nil {
		return Package{Type: typeGo, Name: m.Path}
	}
	return Package{Type: typeGo, Name: m.Path, Version: moduleVersion(m.Version)}
}

func moduleVersion(version string) string {
	if version == "(devel)" {
		return ""
	}
	return version
}

// goVersion is 1.26.1 of "go1.26.1 X:experiment". What comes from no release stays as it is,
// without spaces.
func goVersion(version string) string {
	if number, ok := strings.CutPrefix(version, "go"); ok {
		number, _, _ = strings.Cut(number, " ")
		return number
	}
	return strings.Join(strings.Fields(version), "-")
}
