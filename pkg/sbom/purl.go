package sbom

import (
	"cmp"
	"path"
	"strings"

	"github.com/package-url/packageurl-go"
)

// distro is the operating system that debs and apks are of.
type distro struct{ id, version string }

func distroOf(files []File) distro {
	for _, f := range files {
		for _, p := range f.Packages {
			if p.Type == typeOS {
				return distro{p.Name, p.Version}
			}
		}
	}
	return distro{}
}

// namespace is whose package it is. Without a word from the system, those who began the
// format are assumed.
func (d distro) namespace(typ string) string {
	if typ == typeApk {
		return cmp.Or(d.id, "alpine")
	}
	return cmp.Or(d.id, "debian")
}

// purl is the package URL, or "" for what cannot have one.
func (p Package) purl(d distro) string {
	namespace, name := path.Split(p.Name)
	more := map[string]string{}
	set := func(key, value string) {
		if value != "" {
			more[key] = value
		}
	}
	switch p.Type {
	case typeOS:
		return ""
	case typeDeb, typeApk:
		namespace = d.namespace(p.Type)
		set("arch", p.Arch)
		set("upstream", p.Upstream)
		if d.id != "" {
			set("distro", strings.TrimSuffix(d.id+"-"+d.version, "-"))
		}
	case typeGem:
		set("platform", p.Arch)
	}
	return packageURL(p.Type, namespace, name, p.Version, more)
}

func packageURL(typ, namespace, name, version string, more map[string]string) string {
	u := packageurl.NewPackageURL(typ, namespace, name, version, packageurl.QualifiersFromMap(more), "")
	if u.Normalize() != nil {
		return ""
	}
	return u.ToString()
}
