package pipeline

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Vars are what ${…} in a file can name. What is not known at some place is empty
// there; Parse has refused files that ask for it.
type Vars struct {
	Commit      string // whole hash
	Short       string // its first digits
	Branch      string // "" for a tag; as git names it, so it may hold a /
	Tag         string // "" for a branch
	Version     string // see [Version]
	Number      string // of the delivery, decimal
	App         string
	Repository  string            // URL
	Image       string            // release image by digest; deploy only
	Digest      string            // its digest; deploy only
	Environment string            // deploy only
	Matrix      map[string]string // of a step's variant, as matrix.x
	Terraform   map[string]string // outputs of the terraform step before, as terraform.x
}

// alwaysKnown are the names that any text may use.
func alwaysKnown() []string {
	return []string{"commit", "short", "branch", "tag", "version", "number", "app", "repository"}
}

// deployKnown are those that only texts below deploy may use.
func deployKnown() []string { return []string{"image", "digest", "environment"} }

const (
	matrixPrefix    = "matrix."
	terraformPrefix = "terraform."
)

// reference finds $${ (an escape), ${name} and a ${ that is never closed.
var reference = regexp.MustCompile(`\$\$\{|\$\{([^}]*)\}|\$\{`)

// Version is the version of a commit: the tag without its v where ref is a tag,
// else 0.0.0-<number>.<short>.
func Version(ref string, number uint64, short string) string {
	tag, ok := strings.CutPrefix(ref, "refs/tags/")
	if !ok || tag == "" {
		return fmt.Sprintf("0.0.0-%d.%s", number, short)
	}
	if len(tag) > 1 && tag[0] == 'v' && tag[1] >= '0' && tag[1] <= '9' {
		return tag[1:]
	}
	return tag
}

// Expand fills in the variables of s. An unknown name is an error that says which
// was meant.
func (v Vars) Expand(s string) (string, error) {
	if !strings.Contains(s, "${") {
		return s, nil
	}
	known := v.all()
	var wrong error
	out := reference.ReplaceAllStringFunc(s, func(ref string) string {
		if ref == "$${" {
			return "${"
		}
		name := refName(ref)
		text, ok := known[name]
		if !ok && wrong == nil {
			wrong = unknownVariable(name, slices.Collect(maps.Keys(known)))
		}
		return text
	})
	return out, wrong
}

func refName(ref string) string {
	return strings.TrimSuffix(strings.TrimPrefix(ref, "${"), "}")
}

func unknownVariable(name string, known []string) error {
	if hint := didYouMean(name, known); hint != "" {
		return fmt.Errorf("unknown variable ${%s}: %s", name, hint)
	}
	return fmt.Errorf("unknown variable ${%s}", name)
}

// all are the variables by name.
func (v Vars) all() map[string]string {
	all := map[string]string{
		"commit": v.Commit, "short": v.Short, "branch": v.Branch, "tag": v.Tag,
		"version": v.Version, "number": v.Number, "app": v.App, "repository": v.Repository,
		"image": v.Image, "digest": v.Digest, "environment": v.Environment,
	}
	for name, text := range v.Matrix {
		all[matrixPrefix+name] = text
	}
	for name, text := range v.Terraform {
		all[terraformPrefix+name] = text
	}
	return all
}

// Env is the same for scripts: MILLRACE_COMMIT …, MATRIX_GO, TERRAFORM_URL. What
// only deploy knows is left out where it is empty; the others are always there, so
// that a script may run under set -u.
func (v Vars) Env() map[string]string {
	env := map[string]string{}
	for name, text := range v.all() {
		switch {
		case strings.Contains(name, "."):
			env[envName(name)] = text
		case text != "" || slices.Contains(alwaysKnown(), name):
			env["MILLRACE_"+envName(name)] = text
		}
	}
	return env
}

// envName is a name as shells can have it: capitals, digits and underscores.
func envName(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(name))
}

// scope is which variables texts may use at some place of the file.
type scope struct {
	names     []string // beside those with a prefix
	matrix    []string // of the step
	terraform bool     // a terraform step came before
}

// within makes s the scope until the returned func is called.
func (d *decoder) within(s scope) func() {
	before := d.known
	d.known = s
	return func() { d.known = before }
}

// all are the names that s knows, but for terraform's, which nobody knows yet.
func (s scope) all() []string {
	all := slices.Clone(s.names)
	for _, m := range s.matrix {
		all = append(all, matrixPrefix+m)
	}
	return all
}

func (s scope) knows(name string) bool {
	if output, ok := strings.CutPrefix(name, terraformPrefix); ok && s.terraform {
		return output != ""
	}
	return slices.Contains(s.all(), name)
}

// variables reports those in v that are not known here, each once.
func (d *decoder) variables(v value) {
	if !strings.Contains(v.node.Value, "${") {
		return
	}
	seen := map[string]bool{}
	for _, ref := range reference.FindAllString(v.node.Value, -1) {
		known := ref == "$${" || strings.HasSuffix(ref, "}") && d.known.knows(refName(ref))
		if known || seen[ref] || d.full() {
			continue
		}
		seen[ref] = true
		line, column := d.placeOf(v, ref)
		message, hint := d.known.explain(ref)
		d.reportAt(line, column, message, hint)
	}
}

// explain says why ref is not known.
func (s scope) explain(ref string) (message, hint string) {
	name := refName(ref)
	all := append(alwaysKnown(), deployKnown()...)
	near := didYouMean(name, s.all())
	switch {
	case ref == "${":
		return "${ is never closed", "write $${ for the characters themselves"
	case len(s.names) == 0:
		return "variables are not known here", "write $${ for the characters themselves"
	case slices.Contains(deployKnown(), name):
		return "variable " + ref + " is known in deploy only", ""
	case strings.HasPrefix(name, matrixPrefix) && len(s.matrix) == 0:
		return "variable " + ref + " without a matrix", "add matrix: { " + strings.TrimPrefix(name, matrixPrefix) + ": [...] } to the step"
	case strings.HasPrefix(name, terraformPrefix):
		return "variable " + ref + " is known only after a terraform step", "use it in later steps, or in check"
	case near != "":
		return "unknown variable " + quoteRef(name), near
	case nearest(name, all) != "":
		return "unknown variable " + quoteRef(name), didYouMean(name, all)
	}
	return "unknown variable " + quoteRef(name), "there are " + strings.Join(s.all(), ", ") + "; $${ stands for ${"
}

func quoteRef(name string) string {
	return "${" + strings.Trim(quote(name), `"`) + "}"
}

// placeOf is where ref stands: in the line that v begins in, if it is there, else
// where v begins.
func (d *decoder) placeOf(v value, ref string) (line, column int) {
	line, column = v.node.Line, v.node.Column
	if line < 1 || line > len(d.lines) {
		return line, column
	}
	text, _ := window(d.lines[line-1], column-1, maxSearch)
	before, _, ok := strings.Cut(string(text), ref)
	if !ok {
		return line, column
	}
	return line, column + utf8.RuneCountInString(before)
}

// maxSearch is how far behind the begin of a value its variables are looked for, in
// characters.
const maxSearch = 1000
