package sbom

import (
	"encoding/json"
	"io"
	"strings"
)

// distribution reads the METADATA or PKG-INFO of an installed Python distribution: the
// headers alone, since a description follows.
func distribution(r io.Reader, c *collector) error {
	return stanzas(r, []string{"Name", "Version", "License-Expression"}, func(f map[string]string) bool {
		c.add(Package{Type: typePyPI, Name: f["Name"], Version: f["Version"], License: f["License-Expression"]})
		return false
	})
}

// requirements reads requirements.txt. Only what is pinned has a version: name==1.0.
func requirements(r io.Reader, c *collector) error {
	in := newLines(r)
	for in.Scan() {
		line, _, _ := strings.Cut(in.Text(), "#")
		line, _, _ = strings.Cut(line, ";") // on which systems
		name, version, ok := strings.Cut(line, "==")
		name, _, _ = strings.Cut(strings.TrimSpace(name), "[") // extras
		version = strings.TrimLeft(version, "=")
		words := strings.Fields(version) // hashes and a line's continuation may follow
		if !ok || name == "" || name[0] == '-' || len(words) == 0 || strings.ContainsAny(words[0], "*,") {
			continue
		}
		c.add(Package{Type: typePyPI, Name: strings.TrimSpace(name), Version: words[0]})
	}
	return in.Err()
}

func poetryLock(r io.Reader, c *collector) error {
	return tables(r, []string{"name", "version", "category", "groups"}, func(f map[string]string) {
		if f["category"] != "dev" && f["groups"] != `["dev"]` {
			c.add(Package{Type: typePyPI, Name: f["name"], Version: f["version"]})
		}
	})
}

// uvLock leaves out what has its source in the same repository.
func uvLock(r io.Reader, c *collector) error {
	return tables(r, []string{"name", "version", "source"}, func(f map[string]string) {
		source := strings.TrimLeft(f["source"], "{ ")
		for _, local := range []string{"virtual", "editable", "directory"} {
			if strings.HasPrefix(source, local) {
				return
			}
		}
		c.add(Package{Type: typePyPI, Name: f["name"], Version: f["version"]})
	})
}

// pipfileLock reads what is not for development. What is not pinned to a version comes
// from a repository or a directory.
func pipfileLock(r io.Reader, c *collector) error {
	dec := json.NewDecoder(r)
	return members(dec, func(key string) error {
		if key != "default" {
			return skip(dec)
		}
		return members(dec, func(name string) error {
			var p struct{ Version text }
			if err := dec.Decode(&p); err != nil {
				return err
			}
			if version, ok := strings.CutPrefix(string(p.Version), "=="); ok {
				c.add(Package{Type: typePyPI, Name: name, Version: version})
			}
			return nil
		})
	})
}
