// Package pipeline reads millrace.yaml, the file that says how one app is
// tested, built, released and deployed.
//
// [Parse] accepts exactly the grammar of [Schema] and some rules that a schema
// cannot say: names that exist, variables that are known, steps that do not wait
// for each other. It tells all that is wrong with a file at once, each with its
// place and, where there is one, the way out. It is safe on hostile input: a file
// is read within [MaxBytes], [MaxDepth] and [MaxSteps] or refused at once.
//
// Scripts are never touched. In other text ${…} names a variable of [Vars]; Parse
// refuses unknown ones, the Expand methods fill in the rest. $${ stands for ${.
package pipeline

import (
	_ "embed"
	"slices"
	"time"
)

// The limits of a file.
const (
	MaxBytes = 256 << 10 // of the file
	MaxDepth = 32        // of mappings and lists in each other, aliases followed
	MaxSteps = 200       // container runs, with each variant of a matrix counted
)

//go:embed schema.json
var schema []byte

// Schema is the JSON Schema of millrace.yaml, for editors.
func Schema() []byte { return slices.Clone(schema) }

// File is a millrace.yaml with its defaults applied. Nobody may change it.
type File struct {
	Version   int    // always 1
	Name      string // of the app; a DNS label
	Trigger   Trigger
	Defaults  Defaults
	Test      map[string]*Step
	TestOrder []string // names in Test, in the file's order
	Build     *Build
	Release   *Release
	Deploy    []Target // environments in their order; may be empty
}

// Trigger says which commits start a delivery. The zero value of a list does not
// restrict, except that no Branches means the default branch.
type Trigger struct {
	Branches  []string // globs
	Tags      []string // globs
	Paths     []string // globs; a leading ! excludes
	Supersede bool     // default true: a newer commit of the branch cancels older deliveries before deploy
}

// Defaults of all steps. Parse has applied all but FailFast to each [Step].
type Defaults struct {
	Image     string
	Env       map[string]string
	Cache     []Cache
	Timeout   time.Duration
	Resources Resources
	FailFast  bool // a failing step stops its siblings
}

// Environments are the names of the deploy targets, in their order.
func (f *File) Environments() []string {
	names := make([]string, 0, len(f.Deploy))
	for _, t := range f.Deploy {
		names = append(names, t.Name)
	}
	return names
}

// Parse reads the file that the user knows as name. The error is [Problems], in
// the order of the file; it never is anything else.
func Parse(name string, data []byte) (*File, error) {
	d := newDecoder(name, splitLines(data))
	root, ok := d.load(data)
	if !ok {
		return nil, d.problems()
	}
	f := d.readFile(root)
	if len(d.found) > 0 {
		return nil, d.problems()
	}
	return f, nil
}
