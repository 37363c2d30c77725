package sbom

import (
	"encoding/json"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const lock = "a@1:\n  version \"1.0.0\"\n"

func paths(f Findings) []string {
	var out []string
	for _, file := range f.Files {
		out = append(out, file.Path)
	}
	return out
}

func TestMerge(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		upper []entry
		want  []string
	}{
		"nothing":                       {nil, []string{"opt/a/yarn.lock", "opt/yarn.lock", "yarn.lock"}},
		"whiteout":                      {[]entry{file("opt/.wh.yarn.lock", "")}, []string{"opt/a/yarn.lock", "yarn.lock"}},
		"whiteout of a directory":       {[]entry{file(".wh.opt", "")}, []string{"yarn.lock"}},
		"opaque":                        {[]entry{dir("opt"), file("opt/.wh..wh..opq", "")}, []string{"yarn.lock"}},
		"opaque within":                 {[]entry{file("opt/a/.wh..wh..opq", "")}, []string{"opt/yarn.lock", "yarn.lock"}},
		"opaque root":                   {[]entry{file(".wh..wh..opq", "")}, nil},
		"opaque but new":                {[]entry{file("opt/yarn.lock", lock), file("opt/.wh..wh..opq", "")}, []string{"opt/yarn.lock", "yarn.lock"}},
		"replaced by one without words": {[]entry{file("opt/yarn.lock", "")}, []string{"opt/a/yarn.lock", "yarn.lock"}},
		"replaced by a link":            {[]entry{symlink("opt", "srv")}, []string{"yarn.lock"}},
		"replaced by a file":            {[]entry{file("opt/a", "")}, []string{"opt/yarn.lock", "yarn.lock"}},
		"replaced by a directory":       {[]entry{dir("opt/yarn.lock")}, []string{"opt/a/yarn.lock", "yarn.lock"}},
		"by a directory without a word": {[]entry{file("opt/yarn.lock/x", "")}, []string{"opt/a/yarn.lock", "yarn.lock"}},
		"other metadata of whiteouts":   {[]entry{file("opt/.wh..wh.plnk", ""), dir("opt"), dir(".")}, []string{"opt/a/yarn.lock", "opt/yarn.lock", "yarn.lock"}},
		"a whiteout of nothing":         {[]entry{file("opt/.wh.", ""), file("opt/a/.wh...", ""), file("opt/a/.wh..", "")}, []string{"opt/a/yarn.lock", "opt/yarn.lock", "yarn.lock"}},
		"a name that begins alike":      {[]entry{file("op", ""), file("opt/yarn", ""), file(".wh.yarn", "")}, []string{"opt/a/yarn.lock", "opt/yarn.lock", "yarn.lock"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lower := scan(t, file("yarn.lock", lock), file("opt/yarn.lock", lock), file("opt/a/yarn.lock", lock))
			if diff := cmp.Diff(test.want, paths(Merge(lower, scan(t, test.upper...)))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMergeReplacedDatabase(t *testing.T) {
	t.Parallel()
	status := func(packages ...string) entry {
		text := ""
		for _, p := range packages {
			text += "Package: " + p + "\nStatus: install ok installed\nVersion: 1\n\n"
		}
		return file("var/lib/dpkg/status", text)
	}
	got := told(Merge(scan(t, status("a", "b", "c")), scan(t, file("x", "")), scan(t, status("a", "d"))))
	if diff := cmp.Diff([]string{"deb a 1", "deb d 1"}, got); diff != "" {
		t.Error(diff)
	}
}

// A note about a file goes with the file.
func TestMergeNotes(t *testing.T) {
	t.Parallel()
	broken := scan(t, file("composer.lock", "["), file("../x", ""))
	if len(broken.Notes) != 2 {
		t.Fatalf("notes: %v", broken.Notes)
	}
	got := Merge(broken, scan(t, file(".wh.composer.lock", "")))
	if len(got.Notes) != 1 || got.Notes[0].Path != "" {
		t.Errorf("notes: %v", got.Notes)
	}
}

func TestFindingsSurviveJSON(t *testing.T) {
	t.Parallel()
	want := scan(t, file("yarn.lock", lock), file("odd\xff/yarn.lock", lock), file(".wh.x", ""), file("composer.lock", "["))
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Findings
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(want.Files) != 2 || len(want.Covers) < 3 {
		t.Errorf("%d files, %d covers", len(want.Files), len(want.Covers))
	}
	// A name that is no text is hidden as well, also after it was cached.
	if got := Merge(got, scan(t, file(".wh.odd\xff", ""))); !slices.Equal(paths(got), []string{"yarn.lock"}) {
		t.Errorf("files %v", paths(got))
	}
	for _, bad := range []string{`{"covers":"AAAA"}`, `{"covers":"?"}`} {
		if json.Unmarshal([]byte(bad), &got) == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

// model is a file system that layers are applied to one after another.
func model(layers [][]entry) []string {
	files := map[string]bool{}
	remove := func(gone string, itself bool) {
		for f := range files {
			if f == gone && itself || strings.HasPrefix(f, gone+"/") {
				delete(files, f)
			}
		}
	}
	for _, l := range layers {
		for _, e := range l { // whiteouts come before all else of their layer
			if d, ok := strings.CutSuffix(e.Name, "/"+opaque); ok {
				remove(d, false)
			} else if d, ok := whiteoutOf(e.Name); ok {
				remove(d, true)
			}
		}
		for _, e := range l {
			if _, ok := whiteoutOf(e.Name); !ok {
				remove(e.Name, true)
				files[e.Name] = true
			}
		}
	}
	var out []string
	for f := range files {
		if path.Base(f) == "yarn.lock" {
			out = append(out, f)
		}
	}
	slices.Sort(out)
	return out
}

func whiteoutOf(name string) (string, bool) {
	dir, base := path.Split(name)
	gone, ok := strings.CutPrefix(base, whiteout)
	return dir + gone, ok
}

// Stacked findings are those of the stacked file systems, however layers are grouped.
func TestMergeIsStacking(t *testing.T) {
	t.Parallel()
	names := []string{"a/yarn.lock", "a/b/yarn.lock", "c/yarn.lock", "a/b/x", "c/x"}
	gone := []string{"a/.wh.yarn.lock", "a/.wh.b", ".wh.a", "a/.wh..wh..opq", "a/b/.wh..wh..opq", ".wh.c"}
	rapid.Check(t, func(r *rapid.T) {
		var layers [][]entry
		var findings []Findings
		for range rapid.IntRange(1, 5).Draw(r, "layers") {
			var l []entry
			for _, n := range rapid.SliceOfNDistinct(rapid.SampledFrom(slices.Concat(names, gone)), 0, 4, rapid.ID).Draw(r, "entries") {
				l = append(l, file(n, lock))
			}
			layers = append(layers, l)
			findings = append(findings, scan(t, l...))
		}
		got := Merge(findings...)
		if diff := cmp.Diff(model(layers), paths(got)); diff != "" {
			r.Fatal(diff)
		}
		cut := rapid.IntRange(0, len(findings)).Draw(r, "cut")
		if diff := cmp.Diff(got, Merge(Merge(findings[:cut]...), Merge(findings[cut:]...))); diff != "" {
			r.Fatal(diff)
		}
	})
}
