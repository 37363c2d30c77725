package sbom

import (
	"errors"
	"io"
	"path"
	"strings"
)

// What the administrator says comes before what the vendor says.
const (
	osRelease       = "etc/os-release"
	osReleaseVendor = "usr/lib/os-release"
)

// readOSRelease reads which system this is.
func readOSRelease(r io.Reader, c *collector) error {
	in, fields := newLines(r), map[string]string{}
	for in.Scan() {
		key, value, ok := strings.Cut(strings.TrimSpace(in.Text()), "=")
		if ok && (key == "ID" || key == "VERSION_ID") {
			fields[key] = unquote(value)
		}
	}
	if err := in.Err(); err != nil || fields["ID"] == "" {
		return err
	}
	c.add(Package{Type: typeOS, Name: fields["ID"], Version: fields["VERSION_ID"]})
	return nil
}

// dpkg reads the database of dpkg, or an entry of it as distroless images have it. There
// is no state in such an entry.
func dpkg(r io.Reader, c *collector) error {
	keys := []string{"Package", "Status", "Version", "Architecture", "Source"}
	return stanzas(r, keys, func(f map[string]string) bool {
		if status := strings.Fields(f["Status"]); len(status) > 0 && status[len(status)-1] != "installed" {
			return true
		}
		c.add(Package{
			Type: typeDeb, Name: f["Package"], Version: f["Version"],
			Arch: f["Architecture"], Upstream: other(source(f["Source"]), f["Package"]),
		})
		return true
	})
}

// source is name or name@version of the source package "name" or "name (version)".
func source(text string) string {
	name, version, ok := strings.Cut(strings.TrimSuffix(text, ")"), " (")
	if !ok {
		return name
	}
	return name + "@" + version
}

// apk reads the database of apk.
func apk(r io.Reader, c *collector) error {
	return stanzas(r, []string{"P", "V", "A", "L", "o"}, func(f map[string]string) bool {
		c.add(Package{
			Type: typeApk, Name: f["P"], Version: f["V"],
			Arch: f["A"], Upstream: other(f["o"], f["P"]), License: f["L"],
		})
		return true
	})
}

// other is the name of a source package if it says more than the package's own.
func other(source, name string) string {
	if source == name {
		return ""
	}
	return source
}

// isRPM tells whether a file is a database of rpm.
func isRPM(name string) bool {
	switch path.Dir(name) {
	case "var/lib/rpm", "usr/lib/sysimage/rpm":
		base := path.Base(name)
		return base == "Packages" || base == "Packages.db" || base == "rpmdb.sqlite"
	}
	return false
}

// rpm says that something is missing, since a bill without the packages of the system
// would look as if there were none.
func rpm(io.Reader, *collector) error {
	return errors.New("the database of rpm is not read")
}
