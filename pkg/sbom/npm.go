package sbom

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

const nodeModules = "node_modules"

// packageJSON reads what an installed package says of itself. One without a name or a
// version is only there to tell Node.js how to load a directory.
func packageJSON(r io.Reader, c *collector) error {
	var p struct{ Name, Version, License text }
	if err := json.NewDecoder(r).Decode(&p); err != nil {
		return err
	}
	if p.Name != "" && p.Version != "" {
		c.add(Package{Type: typeNPM, Name: string(p.Name), Version: string(p.Version), License: string(p.License)})
	}
	return nil
}

// npmLock reads package-lock.json: versions 2 and 3 have "packages" by their path,
// version 1 has "dependencies" within each other. Version 2 has both.
func npmLock(r io.Reader, c *collector) error {
	dec, seen := json.NewDecoder(r), false
	return members(dec, func(key string) error {
		switch {
		case key == "packages":
			seen = true
			return members(dec, func(place string) error { return npmPackage(dec, place, c) })
		case key == "dependencies" && !seen:
			return npmDependencies(dec, 0, c)
		}
		return skip(dec)
	})
}

// npmPackage reads the value of a place such as node_modules/a/node_modules/@b/c.
func npmPackage(dec *json.Decoder, place string, c *collector) error {
	var p struct {
		Name, Version, License text
		Dev, Link, Extraneous  boolean
	}
	if err := dec.Decode(&p); err != nil {
		return err
	}
	i := strings.LastIndex("/"+place, "/"+nodeModules+"/")
	if i < 0 || bool(p.Dev || p.Link || p.Extraneous) {
		return nil
	}
	if p.Name == "" { // it is there where the place has another
		p.Name = text(place[i+len(nodeModules)+1:])
	}
	c.npm(string(p.Name), string(p.Version), string(p.License))
	return nil
}

const maxNested = 64 // dependencies within dependencies

func npmDependencies(dec *json.Decoder, depth int, c *collector) error {
	if depth == maxNested {
		return fmt.Errorf("dependencies are nested deeper than %d", maxNested)
	}
	return members(dec, func(name string) error {
		var version text
		var dev boolean
		err := members(dec, func(key string) error {
			switch key {
			case "version":
				return dec.Decode(&version)
			case "dev":
				return dec.Decode(&dev)
			case "dependencies":
				return npmDependencies(dec, depth+1, c)
			}
			return skip(dec)
		})
		if err == nil && !bool(dev) {
			c.npm(name, string(version), "")
		}
		return err
	})
}

// npm adds a package of a lock file. A version may name another package; one that is no
// number is a place, such as a directory of the same repository.
func (c *collector) npm(name, version, license string) {
	if alias, ok := strings.CutPrefix(version, "npm:"); ok {
		name, version = cutVersion(alias)
	}
	if isNumber(version) {
		c.add(Package{Type: typeNPM, Name: name, Version: version, License: license})
	}
}

func isNumber(version string) bool {
	return version != "" && version[0] >= '0' && version[0] <= '9'
}

// cutVersion cuts name@version; the name may begin with an @ of its own.
func cutVersion(text string) (name, version string) {
	if i := strings.LastIndexByte(text, '@'); i > 0 {
		return text[:i], text[i+1:]
	}
	return text, ""
}
