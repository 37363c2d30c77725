package sbom

import (
	"io"
	"strings"
)

// pnpmLock reads pnpm-lock.yaml line by line, since it is always laid out in the same
// way: the keys of "packages:" are indented by two spaces. YAML as such would take too
// much memory.
func pnpmLock(r io.Reader, c *collector) error {
	in := newLines(r)
	var section, pending, format string
	end := func() {
		if pending != "" {
			name, version := cutPnpm(pending, format)
			c.npm(name, version, "")
		}
		pending = ""
	}
	for in.Scan() {
		line := in.Text()
		switch {
		case line == "" || line[0] == '#':
		case line[0] != ' ':
			end()
			section = line
			if version, ok := strings.CutPrefix(line, "lockfileVersion:"); ok {
				format = unquote(strings.TrimSpace(version))
			}
		case section != "packages:":
		case len(line) > 2 && line[1] == ' ' && line[2] != ' ':
			end()
			pending = unquote(strings.TrimSuffix(line[2:], ":"))
		case line == "    dev: true":
			pending = ""
		}
	}
	end()
	return in.Err()
}

// cutPnpm cuts a key: a@1.0.0, before format 9 /a@1.0.0(b@2.0.0), before 6 /a/1.0.0_b@2.0.0.
func cutPnpm(key, format string) (name, version string) {
	key, _, _ = strings.Cut(strings.TrimPrefix(key, "/"), "(")
	if !strings.HasPrefix(format, "5") {
		return cutVersion(key)
	}
	scope := ""
	if strings.HasPrefix(key, "@") {
		scope, key, _ = strings.Cut(key, "/")
		scope += "/"
	}
	name, version, _ = strings.Cut(key, "/")
	version, _, _ = strings.Cut(version, "_")
	return scope + name, version
}
