package render

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/millrace-cd/millrace/pkg/attest"
	"github.com/millrace-cd/millrace/pkg/custody"
	"github.com/millrace-cd/millrace/pkg/delivery"
)

// Custody writes where an image comes from, as a tree: what is below made what is above.
func Custody(w io.Writer, image string, links []custody.Link) error {
	d := links[0].Delivery
	lines := []string{fmt.Sprintf("%s  %s %s", Bold(delivery.Text(image)), "holds", Dim(fmt.Sprintf("delivery %s/%d", delivery.Text(d.App), d.Number)))}
	lines = append(lines, "image "+Dim(signed(links[0]))+": "+ended("acceptance", links[0].Results))
	for _, l := range links[1:] {
		switch l.Service {
		case custody.Builder:
			lines = append(lines, artifactsOf(l)+" "+Dim(signed(l)))
		case custody.Tester:
			lines = append(lines, testedOf(l)...)
		}
	}
	for i, line := range lines {
		if i > 0 {
			line = strings.Repeat("   ", i-1) + "└─ " + line
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

func testedOf(l custody.Link) (lines []string) {
	for _, r := range []struct{ name, algorithm string }{{"snapshot", "sha256"}, {"tree", "gitTree"}, {"commit", "gitCommit"}} {
		for _, s := range l.Statement.Subject {
			if s.Name != r.name {
				continue
			}
			line := r.name + " " + Digest(digest(s, r.algorithm))
			switch r.name {
			case "snapshot":
				line += " " + Dim(signed(l)) + ": " + ended("tests", l.Results)
			case "commit":
				line += " " + delivery.Text(strings.TrimPrefix(s.URI, "git+")) + " " + Dim(delivery.Text(strings.TrimSpace(l.Delivery.Author+": "+l.Delivery.Message)))
			}
			lines = append(lines, line)
		}
	}
	return lines
}

func digest(r attest.Resource, algorithm string) string {
	if algorithm == "sha256" {
		return "sha256:" + r.Digest[algorithm]
	}
	return r.Digest[algorithm]
}

// signed says who stands behind it.
func signed(l custody.Link) string { return "by the " + l.Service + ", key " + l.Key.Short() }

// ended says how steps ended.
func ended(what string, r custody.Results) string {
	names := slices.Concat(r.Passed, r.Warned)
	if len(names) == 0 {
		return "no " + what
	}
	return what + " " + strings.ToLower(delivery.Text(r.Result)) + " (" + delivery.Text(strings.Join(names, ", ")) + ")"
}

// artifactsOf are those of all platforms, each once.
func artifactsOf(l custody.Link) string {
	var names []string
	for _, r := range l.Statement.Subject {
		name := delivery.Text(r.Name) + " " + Digest(digest(r, "sha256"))
		if len(l.Statement.Subject) == 1 || r.Name != l.Statement.Subject[0].Name {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}
