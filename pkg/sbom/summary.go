package sbom

import (
	"strings"

	"github.com/package-url/packageurl-go"
)

// Summary is what a bill of materials says, for people. No text in it steers a terminal.
type Summary struct {
	Subject    Component
	Components []Component // in the order of the document
	Skipped    []string    // what was not read, and why; not empty if the bill is incomplete
}

// Component is one line of a bill of materials. What the document does not say is "".
type Component struct {
	Type    string   // such as library, application or operating-system
	Kind    string   // the type of its package URL, such as deb, npm or golang; else its Type
	Name    string   // with its group before a slash
	Version string   // as told
	PURL    string   // package URL
	License string   // SPDX expressions, ids or names, with a comma between them
	Digest  string   // sha256:<hex>
	Found   []string // paths of the files that tell of it
}

// Parse reads a bill of materials in CycloneDX JSON, whoever wrote it. Components within
// components come after the one that holds them. An error says where the document is
// malformed, or beyond the limits: 64 MiB, and 200 000 components, vulnerabilities and
// mentions of components in these.
func Parse(document []byte) (Summary, error) {
	r, err := read(document)
	if err != nil {
		return Summary{}, err
	}
	return r.summary, nil
}

func kindOf(purl, typ string) string {
	if rest, ok := strings.CutPrefix(purl, "pkg:"); ok {
		if kind, _, ok := strings.Cut(rest, "/"); ok {
			return kind
		}
	}
	return typ
}

// mentioned is a component that a document speaks of and does not describe: its package
// URL, or else a name.
func mentioned(ref string) Component {
	u, err := packageurl.FromString(cut(ref, maxPath))
	if err != nil {
		return Component{Name: cut(ref, maxField)}
	}
	name := u.Name
	if u.Namespace != "" && u.Type != typeDeb && u.Type != typeApk { // those have it from the system
		name = u.Namespace + "/" + u.Name
	}
	return Component{Kind: u.Type, Name: printable(name), Version: printable(u.Version), PURL: ref}
}
