package sbom

import (
	"io"
	"strings"
)

// yarnLock reads yarn.lock: blocks of a line that names what was asked for, and of lines
// with what was found. Later versions of yarn write the same with colons.
func yarnLock(r io.Reader, c *collector) error {
	in, name := newLines(r), ""
	for in.Scan() {
		line := in.Text()
		switch {
		case line == "" || line[0] == '#':
		case line[0] != ' ':
			name = yarnName(line)
		case name != "" && strings.HasPrefix(line, "  version"):
			version := strings.TrimLeft(strings.TrimPrefix(line, "  version"), ": ")
			c.npm(name, unquote(version), "")
			name = ""
		}
	}
	return in.Err()
}

// yarnName is the package of a line such as `"@a/b@^1.0.0", "@a/b@^1.1.0":`. It is ""
// for what is no package of the registry.
func yarnName(line string) string {
	first, _, _ := strings.Cut(strings.TrimSuffix(line, ":"), ",")
	first = strings.Trim(first, `"`)
	name, asked := cutAsked(first)
	if alias, ok := strings.CutPrefix(asked, "npm:"); ok {
		if other, _ := cutAsked(alias); other != "" {
			return other
		}
		return name
	}
	for _, local := range []string{"workspace:", "link:", "portal:", "file:"} {
		if strings.HasPrefix(asked, local) {
			return ""
		}
	}
	return name
}

// cutAsked cuts name@range; the range may have an @ as well.
func cutAsked(text string) (name, asked string) {
	if len(text) < 2 {
		return "", ""
	}
	if i := strings.IndexByte(text[1:], '@'); i >= 0 {
		return text[:i+1], text[i+2:]
	}
	return "", "" // not a package
}
