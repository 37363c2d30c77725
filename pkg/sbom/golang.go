package sbom

import (
	"io"
	"strings"
)

const (
	goMod = "go.mod"
	goSum = "go.sum"
)

// readGoMod reads what a module requires. Since Go 1.17 that is all it is built of.
func readGoMod(r io.Reader, c *collector) error {
	m := modFile{replaced: map[string]Package{}}
	in := newLines(r)
	for in.Scan() {
		m.line(in.Text())
	}
	if err := in.Err(); err != nil {
		return err
	}
	if m.path != "" {
		c.add(Package{Type: typeGo, Name: m.path, Main: true})
	}
	for _, p := range m.required {
		if by, ok := m.replaced[p.Name]; ok {
			p = by
		} else if by, ok := m.replaced[p.Name+"@"+p.Version]; ok {
			p = by
		}
		c.add(p)
	}
	return nil
}

// maxRequired is how many requirements and replacements of a module are kept.
const maxRequired = 20_000

type modFile struct {
	block    string // the directive whose parentheses are open
	path     string
	required []Package
	replaced map[string]Package // by path, or path@version
}

func (m *modFile) line(text string) {
	text, _, _ = strings.Cut(text, "//")
	words := strings.Fields(text)
	switch {
	case len(words) == 0:
		return
	case words[0] == ")":
		m.block = ""
		return
	case m.block != "":
		words = append([]string{m.block}, words...)
	case len(words) == 2 && words[1] == "(":
		m.block = words[0]
		return
	}
	for i := range words {
		words[i] = strings.Trim(words[i], "\"`")
	}
	m.directive(words[0], words[1:])
}

func (m *modFile) directive(name string, words []string) {
	switch {
	case len(m.required)+len(m.replaced) >= maxRequired:
	case name == "module" && len(words) == 1:
		m.path = words[0]
	case name == "require" && len(words) == 2:
		m.required = append(m.required, Package{Type: typeGo, Name: words[0], Version: words[1]})
	case name == "replace":
		m.replace(words)
	}
}

// replace reads "path [version] => path [version]".
func (m *modFile) replace(words []string) {
	old, by, ok := cutWords(words, "=>")
	if !ok || len(old) == 0 || len(old) > 2 || len(by) == 0 || len(by) > 2 {
		return
	}
	p := Package{Type: typeGo, Name: old[0]} // a directory has no version
	if len(by) == 2 {
		p.Name, p.Version = by[0], by[1]
	}
	m.replaced[strings.Join(old, "@")] = p
}

func cutWords(words []string, at string) (before, after []string, ok bool) {
	for i, w := range words {
		if w == at {
			return words[:i], words[i+1:], true
		}
	}
	return words, nil, false
}

// readGoSum reads the modules whose files were needed, not only their go.mod.
func readGoSum(r io.Reader, c *collector) error {
	in := newLines(r)
	for in.Scan() {
		words := strings.Fields(in.Text())
		if len(words) == 3 && !strings.HasSuffix(words[1], "/"+goMod) {
			c.add(Package{Type: typeGo, Name: words[0], Version: words[1]})
		}
	}
	return in.Err()
}
