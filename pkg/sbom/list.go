package sbom

import (
	"cmp"
	"path"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// listed is a package and the places that tell of it.
type listed struct {
	Package
	url    string
	places []string
}

func (l *listed) component() cdx.Component {
	c := cdx.Component{BOMRef: l.ref(), Type: cdx.ComponentTypeLibrary, Name: l.Name, Version: l.Version, PackageURL: l.url}
	switch {
	case l.Type == typeOS:
		c.Type = cdx.ComponentTypeOS
	case l.Main:
		c.Type = cdx.ComponentTypeApplication
	case l.Type != typeGo: // a module path is one name
		group, name := path.Split(l.Name)
		c.Group, c.Name = strings.TrimSuffix(group, "/"), name
	}
	if l.License != "" {
		c.Licenses = &cdx.Licenses{license(l.License)}
	}
	if name, _, _ := strings.Cut(l.Upstream, "@"); name != "" {
		// Trivy knows advisories by the source package, and looks for it here alone.
		c.Properties = &[]cdx.Property{{Name: "aquasecurity:trivy:SrcName", Value: name}}
	}
	places := make([]cdx.EvidenceOccurrence, 0, len(l.places))
	for _, p := range l.places {
		places = append(places, cdx.EvidenceOccurrence{Location: p})
	}
	c.Evidence = &cdx.Evidence{Occurrences: &places}
	return c
}

// ref names the component within the document.
func (l *listed) ref() string {
	if l.url != "" {
		return l.url
	}
	return l.Type + ":" + l.Name + "@" + l.Version
}

// list is each package once, with where it was found, sorted.
func (f Findings) list() []*listed {
	files, known := f.telling(), map[string]*listed{}
	system := distroOf(files)
	for _, file := range files {
		for _, p := range file.Packages {
			l := &listed{Package: p, url: p.purl(system)}
			if first, ok := known[l.ref()]; ok {
				l = first
				l.Main = l.Main || p.Main
				l.License = cmp.Or(l.License, p.License)
			}
			known[l.ref()] = l
			if n := len(l.places); n < maxPlaces && (n == 0 || l.places[n-1] != file.Path) {
				l.places = append(l.places, file.Path)
			}
		}
	}
	list := make([]*listed, 0, len(known))
	for _, l := range known {
		list = append(list, l)
	}
	slices.SortFunc(list, func(a, b *listed) int { return strings.Compare(a.ref(), b.ref()) })
	return list
}

// telling are the files that count. A plan of what would be installed does not, where
// what was installed tells itself.
func (f Findings) telling() []File {
	k := f.known()
	return slices.DeleteFunc(slices.Clone(f.Files), k.better)
}

// known is what has to be known of all files to judge one.
type known struct {
	programs map[string]bool // main modules of Go binaries
	modules  map[string]bool // directories with a node_modules that has packages
	goMods   map[string]bool // directories with a go.mod
	system   bool            // there is an etc/os-release
}

func (f Findings) known() known {
	k := known{programs: map[string]bool{}, modules: map[string]bool{}, goMods: map[string]bool{}}
	for _, file := range f.Files {
		dir, base := path.Split(file.Path)
		switch base {
		case goMod:
			k.goMods[dir] = true
		case "package.json":
			if i := strings.Index("/"+file.Path, "/"+nodeModules+"/"); i >= 0 {
				k.modules[file.Path[:i]] = true
			}
		default:
			for _, p := range file.Packages {
				k.programs[p.Name] = k.programs[p.Name] || p.Main
			}
		}
		k.system = k.system || file.Path == osRelease
	}
	return k
}

// better tells whether another file knows better.
func (k known) better(file File) bool {
	dir, base := path.Split(file.Path)
	switch base {
	case goMod:
		return slices.ContainsFunc(file.Packages, func(p Package) bool { return p.Main && k.programs[p.Name] })
	case goSum:
		return k.goMods[dir]
	case "package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml":
		return k.modules[dir]
	}
	return file.Path == osReleaseVendor && k.system
}
