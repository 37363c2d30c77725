// Package sbom writes software bills of materials: what software there is in an
// artifact or an image, as CycloneDX 1.6 JSON.
//
// [Scan] reads a tar once, as a stream, and keeps only what the files in it tell of
// software. What it finds in a layer depends on nothing but the layer, so it can be
// kept by the layer's digest. [Merge] stacks the layers of an image, and
// [Findings.Document] writes the bill. The same findings give the same bytes.
//
// Read are: the build information of Go programs (Go 1.18 and later; ELF, PE, Mach-O);
// the databases of dpkg and apk, and os-release; installed npm packages and Python
// distributions; Maven's pom.properties in jars, also in jars within a jar; and, as far
// as nothing installed tells more, the lock files of Go, npm, yarn, pnpm, pip, Poetry,
// Pipenv, uv, Cargo, Bundler and Composer, without what is for development only. The
// database of rpm is not read, which is noted, and neither is a jar that Maven did not
// make: nothing is guessed from the names of files.
//
// A tar is hostile input. What cannot be read of a file is skipped and noted; the
// document then says that it is incomplete. A scan takes up to about 100 MiB of memory,
// and a temporary file in [os.TempDir] for a large jar; [Merge] takes memory for all its
// layers, up to about 16 MiB each.
//
// [Parse] reads a bill for people, [Vulnerabilities] what a scanner answers to it, and
// [Failing] judges by the pipeline file's scan.fail_on and scan.ignore.
package sbom

// Findings is what a tar, or a stack of layers, says of the software in it. The zero
// value is what an empty one says. It survives JSON, so it can be cached; it belongs to
// the version of the program that made it, since later ones may find more.
type Findings struct {
	Files []File `json:"files,omitempty"` // sorted by path; only those that tell of software
	Notes []Note `json:"notes,omitempty"` // files that were skipped
	// Covers tells which files of lower layers are no more.
	Covers Covers `json:"covers,omitempty"`
}

// File is a file that tells of software.
type File struct {
	Path     string    `json:"path"` // in the tar, without a leading slash
	Packages []Package `json:"packages"`
}

// Package is one piece of software, as a file tells of it.
type Package struct {
	Type     string `json:"type"`               // a type of a package URL; "os" for the operating system
	Name     string `json:"name"`               // with its namespace: @scope/name, group/artifact, vendor/name
	Version  string `json:"version,omitempty"`  // "" where nobody knows
	Arch     string `json:"arch,omitempty"`     // of a deb, an apk or a gem
	Upstream string `json:"upstream,omitempty"` // the source package: its name, or name@version, where they are others
	License  string `json:"license,omitempty"`  // as told; an SPDX expression if all is well
	Main     bool   `json:"main,omitempty"`     // the main module of a Go program
}

// Note says why a file was skipped.
type Note struct {
	Path   string `json:"path,omitempty"` // "" for the tar as a whole
	Reason string `json:"reason"`
}

// The types of packages that are not said by a package URL, or in several places.
const (
	typeOS       = "os"
	typeApk      = "apk"
	typeCargo    = "cargo"
	typeComposer = "composer"
	typeDeb      = "deb"
	typeGem      = "gem"
	typeGo       = "golang"
	typeMaven    = "maven"
	typeNPM      = "npm"
	typePyPI     = "pypi"
)
