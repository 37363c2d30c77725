package sbom

import (
	"encoding/json"
	"io"
	"strings"
)

// cargoLock reads the crates that come from somewhere; the others are the program's own.
func cargoLock(r io.Reader, c *collector) error {
	return tables(r, []string{"name", "version", "source"}, func(f map[string]string) {
		if f["source"] != "" {
			c.add(Package{Type: typeCargo, Name: f["name"], Version: f["version"]})
		}
	})
}

// gemfileLock reads what Bundler resolved: in each section that is no PATH of the same
// repository, the lines "    name (version)" or "    name (version-platform)".
func gemfileLock(r io.Reader, c *collector) error {
	in, section := newLines(r), ""
	for in.Scan() {
		line := in.Text()
		if line != "" && line[0] != ' ' {
			section = line
		}
		entry, ok := strings.CutPrefix(line, "    ")
		if !ok || section != "GEM" && section != "GIT" || strings.HasPrefix(entry, " ") {
			continue
		}
		name, version, ok := strings.Cut(strings.TrimSuffix(entry, ")"), " (")
		if ok {
			version, platform, _ := strings.Cut(version, "-")
			c.add(Package{Type: typeGem, Name: name, Version: version, Arch: platform})
		}
	}
	return in.Err()
}

// composerLock reads "packages"; "packages-dev" is for development.
func composerLock(r io.Reader, c *collector) error {
	dec := json.NewDecoder(r)
	return members(dec, func(key string) error {
		if key != "packages" {
			return skip(dec)
		}
		return elements(dec, func() error {
			var p struct {
				Name, Version text
				License       choice
			}
			if err := dec.Decode(&p); err != nil {
				return err
			}
			c.add(Package{Type: typeComposer, Name: string(p.Name), Version: string(p.Version), License: string(p.License)})
			return nil
		})
	})
}

// choice is a list of licenses that one may choose from.
type choice string

// UnmarshalJSON implements [json.Unmarshaler].
func (c *choice) UnmarshalJSON(data []byte) error {
	var of []string
	if len(data) <= maxField && json.Unmarshal(data, &of) == nil {
		*c = choice(strings.Join(of, " OR "))
	}
	return nil
}
