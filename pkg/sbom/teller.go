package sbom

import (
	"io"
	"math"
	"path"
	"strings"
)

// teller reads a file and gives what it tells of.
type teller func(io.Reader, *collector) error

// tellerOf is who reads a file, chosen by its path, and the bytes that the file may have;
// nil for a file that is of no interest.
func tellerOf(name string) (teller, int64) {
	if isRPM(name) {
		return rpm, math.MaxInt64
	}
	if t := system(name); t != nil {
		return t, maxText
	}
	base := path.Base(name)
	switch path.Ext(base) {
	case ".jar", ".war", ".ear":
		return jar, maxZip
	case ".whl", ".pyz":
		return wheel, maxZip
	}
	if t := installed(name, base); t != nil {
		return t, maxText
	}
	if t := planned(base); t != nil && !isForeign(name) {
		return t, maxText
	}
	return nil, 0
}

// system is who reads a file of the operating system.
func system(name string) teller {
	switch name {
	case osRelease, osReleaseVendor:
		return readOSRelease
	case "var/lib/dpkg/status":
		return dpkg
	case "lib/apk/db/installed", "usr/lib/apk/db/installed":
		return apk
	}
	if path.Dir(name) == "var/lib/dpkg/status.d" && !strings.HasSuffix(name, ".md5sums") {
		return dpkg
	}
	return nil
}

// installed is who reads a file that comes with an installed package.
func installed(name, base string) teller {
	parent := path.Base(path.Dir(name))
	switch {
	case base == "package.json" && isModule(path.Dir(name)):
		return packageJSON
	case base == "METADATA" && strings.HasSuffix(parent, ".dist-info"),
		base == "PKG-INFO" && strings.HasSuffix(parent, ".egg-info"),
		strings.HasSuffix(base, ".egg-info"):
		return distribution
	}
	return nil
}

// isModule tells whether a directory is that of an npm package: node_modules/name or
// node_modules/@scope/name.
func isModule(dir string) bool {
	parent := path.Dir(dir)
	if strings.HasPrefix(path.Base(parent), "@") {
		parent = path.Dir(parent)
	}
	return path.Base(parent) == nodeModules
}

// planned is who reads a file that says what would be installed.
func planned(base string) teller {
	switch base {
	case goMod:
		return readGoMod
	case goSum:
		return readGoSum
	case "package-lock.json", "npm-shrinkwrap.json":
		return npmLock
	case "yarn.lock":
		return yarnLock
	case "pnpm-lock.yaml":
		return pnpmLock
	case "requirements.txt":
		return requirements
	case "poetry.lock":
		return poetryLock
	case "uv.lock":
		return uvLock
	case "Pipfile.lock":
		return pipfileLock
	case "Cargo.lock":
		return cargoLock
	case "Gemfile.lock":
		return gemfileLock
	case "composer.lock":
		return composerLock
	}
	return nil
}

// isForeign tells whether a file belongs to an installed package. What such a package
// was once developed with is not there.
func isForeign(name string) bool {
	for dir := range strings.SplitSeq(path.Dir(name), "/") {
		switch dir {
		case nodeModules, "site-packages", "dist-packages", "gems", "vendor":
			return true
		}
	}
	return strings.Contains("/"+name, "/pkg/mod/")
}
