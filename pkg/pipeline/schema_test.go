package pipeline

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"
)

// validator is as much of JSON Schema as ours uses. It refuses to know less.
type validator struct {
	root map[string]any
	used map[string]bool // pointers of the schema's properties that were met

	forms map[string]*regexp.Regexp
}

// matches tells whether s matches a pattern of the schema.
func (v *validator) matches(pattern, s string) bool {
	form, ok := v.forms[pattern]
	if !ok {
		form = regexp.MustCompile(pattern)
		v.forms[pattern] = form
	}
	return form.MatchString(s)
}

func newValidator(t *testing.T) *validator {
	t.Helper()
	v := &validator{used: map[string]bool{}, forms: map[string]*regexp.Regexp{}}
	if err := json.Unmarshal(Schema(), &v.root); err != nil {
		t.Fatal(err)
	}
	return v
}

// object is a schema's or a document's mapping.
type object = map[string]any

func (v *validator) resolve(at string, s object) (string, object) {
	ref, ok := s["$ref"].(string)
	if !ok {
		return at, s
	}
	name := strings.TrimPrefix(ref, "#/$defs/")
	return ref, v.root["$defs"].(object)[name].(object)
}

func (v *validator) valid(at string, s object, x any) bool {
	if _, def := v.resolve(at, s); s["$ref"] != nil {
		target, _ := v.resolve(at, s)
		if !v.valid(target, def, x) {
			return false
		}
	}
	for keyword, arg := range s {
		if !v.keyword(at, s, keyword, arg, x) {
			return false
		}
	}
	return true
}

func (v *validator) keyword(at string, s object, keyword string, arg, x any) bool {
	m, isMap := x.(object)
	list, isList := x.([]any)
	text, isText := x.(string)
	num, isNum := x.(float64)
	switch keyword {
	case "$schema", "$id", "$ref", "$defs", "title", "description", "default", "patternProperties", "properties":
		return keyword != "properties" && keyword != "patternProperties" || !isMap || v.properties(at, s, m)
	case "type":
		return isType(arg, x)
	case "const":
		return reflect.DeepEqual(arg, x)
	case "enum":
		return slices.ContainsFunc(arg.([]any), func(e any) bool { return reflect.DeepEqual(e, x) })
	case "required":
		return !isMap || !slices.ContainsFunc(arg.([]any), func(k any) bool { _, ok := m[k.(string)]; return !ok })
	case "additionalProperties", "unevaluatedProperties":
		return !isMap || v.additional(at, s, arg, m)
	case "propertyNames":
		return !isMap || !slices.ContainsFunc(slices.Collect(maps.Keys(m)), func(k string) bool { return !v.valid(at, arg.(object), k) })
	case "minProperties":
		return !isMap || float64(len(m)) >= arg.(float64)
	case "maxProperties":
		return !isMap || float64(len(m)) <= arg.(float64)
	case "minItems":
		return !isList || float64(len(list)) >= arg.(float64)
	case "items":
		return !isList || !slices.ContainsFunc(list, func(i any) bool { return !v.valid(at+"/items", arg.(object), i) })
	case "pattern":
		return !isText || v.matches(arg.(string), text)
	case "minimum":
		return !isNum || num >= arg.(float64)
	case "maximum":
		return !isNum || num <= arg.(float64)
	case "exclusiveMinimum":
		return !isNum || num > arg.(float64)
	case "allOf":
		return v.count(at, arg, x) == len(arg.([]any))
	case "anyOf":
		return v.count(at, arg, x) > 0
	case "oneOf":
		return v.count(at, arg, x) == 1
	}
	panic("the validator does not know " + keyword)
}

func (v *validator) count(at string, schemas, x any) int {
	n := 0
	for i, s := range schemas.([]any) {
		if v.valid(fmt.Sprintf("%s/%d", at, i), s.(object), x) {
			n++
		}
	}
	return n
}

func (v *validator) properties(at string, s, m object) bool {
	known, _ := s["properties"].(object)
	patterns, _ := s["patternProperties"].(object)
	for k, x := range m {
		if sub, ok := known[k]; ok {
			v.used[at+"/"+k] = true
			if !v.valid(at+"/"+k, sub.(object), x) {
				return false
			}
		}
		for p, sub := range patterns {
			if v.matches(p, k) && !v.valid(at+"/*", sub.(object), x) {
				return false
			}
		}
	}
	return true
}

// additional checks those that no properties, patternProperties or allOf names.
func (v *validator) additional(at string, s object, arg any, m object) bool {
	named := v.named(s)
	for k, x := range m {
		if named(k) {
			continue
		}
		if sub, ok := arg.(object); !ok || !v.valid(at+"/*", sub, x) {
			return false
		}
	}
	return true
}

func (v *validator) named(s object) func(string) bool {
	known, _ := s["properties"].(object)
	patterns, _ := s["patternProperties"].(object)
	all, _ := s["allOf"].([]any)
	return func(k string) bool {
		_, ok := known[k]
		for p := range patterns {
			ok = ok || v.matches(p, k)
		}
		for _, sub := range all {
			_, def := v.resolve("", sub.(object))
			ok = ok || v.named(def)(k)
		}
		return ok
	}
}

func isType(want, x any) bool {
	if all, ok := want.([]any); ok {
		return slices.ContainsFunc(all, func(one any) bool { return isType(one, x) })
	}
	switch x := x.(type) {
	case object:
		return want == "object"
	case []any:
		return want == "array"
	case string:
		return want == "string"
	case bool:
		return want == "boolean"
	case float64:
		return want == "number" || want == "integer" && x == math.Trunc(x)
	}
	return false
}

// plainData is x as encoding/json would have made it.
func plainData(x any) any {
	switch x := x.(type) {
	case map[string]any:
		for k := range x {
			x[k] = plainData(x[k])
		}
		return x
	case map[any]any:
		m := object{}
		for k := range x {
			m[fmt.Sprint(k)] = plainData(x[k])
		}
		return m
	case []any:
		for i := range x {
			x[i] = plainData(x[i])
		}
		return x
	case int:
		return float64(x)
	case time.Time:
		return x.String()
	}
	return x
}

// verdict is what the schema says.
func (v *validator) verdict(t *testing.T, n *yaml.Node) bool {
	t.Helper()
	var x any
	if err := n.Load(&x, yaml.WithUniqueKeys(false)); err != nil {
		t.Fatal(err)
	}
	return v.valid("#", v.root, plainData(x))
}

// stricter are the messages about what a schema cannot say.
var stricter = regexp.MustCompile(`has no image$|` +
	`^(the image|the path|run|install|before|deploy|rollback) is empty$|^this text is empty$|` +
	`is no time at all$|is too long$|is not a possible size$|is not an image$|is not a regular expression$|` +
	`variable|^\$\{ is never closed$|^steps wait for each other|is no step beside it$|` +
	`is not in the matrix$|excludes its whole matrix|is in \w+ twice$|^there are two environments|^duplicate key|` +
	`has a tag or digest$|leaves the repository$|is an absolute path$|is not an absolute path$|` +
	`cannot be a cache$|is not a (named )?volume$|is not a window$|is not a port to publish$|is not a name of a network$|` +
	`is not something to ask$|^status without http$|^(status|tcp) is |is no name of a secret$|is not a source of a secret$|is no name in matrix$|` +
	`^(cpu|pids|replicas|count|user) is 99999999999$|^user is -1$|^(go|os) is (empty|a list|a mapping)$|` +
	`^a dockerfile stands in place|^nothing can be installed in scratch$|^the host app is|^the file has too many steps$`)

func corpus(t *testing.T, pattern string) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	files := map[string][]byte{}
	for _, name := range names {
		if files[name], err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// agree tells how the decoder and the schema disagree on a file, "" where they do not.
func agree(valid bool, found Problems) string {
	if !valid && len(found) == 0 {
		return "the decoder accepts what the schema refuses"
	}
	for _, p := range found {
		if valid && !stricter.MatchString(p.Message) {
			return "the schema accepts what the decoder refuses: " + p.Message
		}
	}
	return ""
}

// decode is Parse without the text.
func decode(root *yaml.Node) Problems {
	d := newDecoder("millrace.yaml", nil)
	if d.inspect(root) {
		d.readFile(root)
	}
	return d.problems()
}

func TestSchemaAndDecoderAgree(t *testing.T) {
	t.Parallel()
	v := newValidator(t)
	for name, data := range corpus(t, "testdata/*/*.yaml") {
		if strings.HasPrefix(filepath.Base(name), "yaml-") {
			continue // no YAML, or YAML that only we refuse
		}
		root := node(t, data)
		valid := v.verdict(t, root)
		if got := agree(valid, decode(root)); got != "" {
			t.Errorf("%s: %s", name, got)
		}
		if strings.Contains(name, "good") && !valid {
			t.Errorf("%s: the schema refuses it", name)
		}
	}
}

// TestFullFileIsFull keeps the file that is mutated complete: each property of the
// schema is in it or in another good file.
func TestFullFileIsFull(t *testing.T) {
	t.Parallel()
	v := newValidator(t)
	for _, data := range corpus(t, "testdata/good/*.yaml") {
		v.verdict(t, node(t, data))
	}
	for at := range allProperties("#", v.root) {
		if !v.used[at] {
			t.Errorf("no good file has %s", at)
		}
	}
	if n := len(v.used); n < 150 {
		t.Errorf("got %d properties, want at least 150: the walk of the schema is broken", n)
	}
}

func allProperties(at string, s object) map[string]bool {
	all := map[string]bool{}
	if known, ok := s["properties"].(object); ok {
		for k, sub := range known {
			all[at+"/"+k] = true
			maps.Copy(all, allProperties(at+"/"+k, sub.(object)))
		}
	}
	if defs, ok := s["$defs"].(object); ok {
		for k, sub := range defs {
			maps.Copy(all, allProperties("#/$defs/"+k, sub.(object)))
		}
	}
	if patterns, ok := s["patternProperties"].(object); ok {
		for _, sub := range patterns {
			maps.Copy(all, allProperties(at+"/*", sub.(object)))
		}
	}
	if items, ok := s["items"].(object); ok {
		maps.Copy(all, allProperties(at+"/items", items))
	}
	for _, keyword := range []string{"oneOf", "anyOf", "allOf"} {
		subs, _ := s[keyword].([]any)
		for i, sub := range subs {
			maps.Copy(all, allProperties(fmt.Sprintf("%s/%d", at, i), sub.(object)))
		}
	}
	return all
}

// oddValues replace each value of the good files in turn.
var oddValues = []string{"true", "7", "-1", "0", "1.5", "''", "x y", "~", "[]", "{}", "[a]", "{a: b}", "[{a: b}]", "none", "/x", "A_B", "99999999999"}

// every lets the usual run try one mutant of some; all take a minute under -race.
var every = flag.Int("every", 3, "try one of so many mutants")

// TestMutantsAgree changes one thing of a good file at a time: a value, a key that
// goes, a key that comes. Decoder and schema must say the same of each.
func TestMutantsAgree(t *testing.T) {
	t.Parallel()
	odd := make([]*yaml.Node, len(oddValues))
	for i, text := range oddValues {
		odd[i] = node(t, []byte(text))
	}
	v := newValidator(t)
	refused, tried, all := 0, 0, 0
	for name, data := range corpus(t, "testdata/good/[df]*.yaml") { // those have all keys
		root := node(t, data)
		inline(root)
		mutate(root, odd, func(what string) {
			if all++; all%*every != 0 {
				return
			}
			tried++
			valid := v.verdict(t, root)
			if got := agree(valid, decode(root)); got != "" {
				t.Errorf("%s, %s: %s", name, what, got)
			}
			if !valid {
				refused++
			}
		})
	}
	t.Logf("%d mutants, %d refused by the schema", tried, refused)
	if refused < tried/3 || tried == 0 {
		t.Errorf("only %d of %d mutants are bad: the mutation is broken", refused, tried)
	}
}

func node(t *testing.T, data []byte) *yaml.Node {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Load(data, &doc); err != nil {
		t.Fatal(err)
	}
	return doc.Content[0]
}

// inline puts what aliases name in their place, and leaves merges out of mappings.
func inline(n *yaml.Node) {
	n.Content = slices.Clone(n.Content)
	for i := range n.Content {
		n.Content[i] = follow(n.Content[i])
		inline(n.Content[i])
	}
	for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
		if n.Content[i].Tag == tagMerge {
			n.Content = slices.Delete(n.Content, i, i+2)
			i -= 2
		}
	}
}

// mutate calls try for each change of something below n, and undoes it.
func mutate(n *yaml.Node, odd []*yaml.Node, try func(what string)) {
	step := 1
	if n.Kind == yaml.MappingNode {
		step = 2
		mutateKeys(n, try)
	}
	for i := step - 1; i < len(n.Content); i += step {
		was := n.Content[i]
		place := fmt.Sprintf("line %d column %d", was.Line, was.Column)
		for j, o := range odd {
			n.Content[i] = o
			try(place + " is " + oddValues[j])
		}
		n.Content[i] = was
		if was.Kind == yaml.MappingNode || was.Kind == yaml.SequenceNode {
			mutate(was, odd, try)
		}
	}
}

func mutateKeys(n *yaml.Node, try func(what string)) {
	was := n.Content
	for i := 0; i < len(was); i += 2 {
		n.Content = slices.Delete(slices.Clone(was), i, i+2)
		try("no " + was[i].Value)
		renamed := *was[i]
		renamed.Value += "x"
		n.Content = slices.Clone(was)
		n.Content[i] = &renamed
		try(was[i].Value + " is " + renamed.Value)
	}
	key := &yaml.Node{Kind: yaml.ScalarNode, Tag: tagString, Value: "Added Key"}
	n.Content = append(slices.Clone(was), key, key)
	try("a key more")
	n.Content = was
}
