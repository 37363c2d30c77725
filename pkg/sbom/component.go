package sbom

import (
	"fmt"
	"net/url"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

const maxGroups = 32 // components within components

var errNested = fmt.Errorf("components are nested deeper than %d", maxGroups)

func (r *reading) components(depth int) error {
	if depth > maxGroups {
		return errNested
	}
	return elements(r.dec, func() error {
		if err := r.count(); err != nil {
			return err
		}
		at := len(r.summary.Components) // those in it come after it
		r.summary.Components = append(r.summary.Components, Component{})
		c, err := r.component(depth)
		r.summary.Components[at] = c
		return err
	})
}

func (r *reading) component(depth int) (Component, error) {
	var c struct{ Ref, Type, Group, Name, Version, PURL shown }
	var out Component
	texts := map[string]*shown{
		"bom-ref": &c.Ref, "type": &c.Type, "group": &c.Group, "name": &c.Name, "version": &c.Version, "purl": &c.PURL,
	}
	err := members(r.dec, func(key string) error {
		if to, ok := texts[key]; ok {
			return r.dec.Decode(to)
		}
		if key == "components" {
			return r.components(depth + 1)
		}
		return r.detail(key, &out)
	})
	out.Type, out.Name, out.Version, out.PURL = string(c.Type), string(c.Name), string(c.Version), string(c.PURL)
	out.Kind = kindOf(out.PURL, out.Type)
	if c.Group != "" {
		out.Name = string(c.Group + "/" + c.Name)
	}
	if c.Ref != "" {
		r.byRef[string(c.Ref)] = out
	}
	return out, err
}

// detail reads what is a list within a component.
func (r *reading) detail(key string, c *Component) error {
	switch key {
	case "licenses":
		return each(r.dec, func(l licenseChoice) { c.addLicense(string(l.text())) })
	case "hashes":
		return each(r.dec, func(h struct{ Alg, Content shown }) {
			if h.Alg == shown(cdx.HashAlgoSHA256) {
				c.Digest = "sha256:" + string(h.Content)
			}
		})
	case "evidence":
		return members(r.dec, func(key string) error {
			if key != "occurrences" {
				return skip(r.dec)
			}
			return each(r.dec, func(o struct{ Location shown }) {
				if o.Location != "" {
					c.Found = append(c.Found, string(o.Location))
				}
			})
		})
	}
	return skip(r.dec)
}

type licenseChoice struct {
	Expression shown
	License    struct{ ID, Name shown }
}

func (l licenseChoice) text() shown {
	switch {
	case l.Expression != "":
		return l.Expression
	case l.License.ID != "":
		return l.License.ID
	}
	return l.License.Name
}

func (c *Component) addLicense(text string) {
	switch {
	case text == "":
	case c.License == "":
		c.License = text
	case len(c.License) < maxField: // one that goes on and on is of no use
		c.License += ", " + text
	}
}

// described is the component of a reference, which may come with a link to the document
// that describes it: urn:cdx:<serial>/<version>#<reference>.
func (r *reading) described(ref string) Component {
	if c, ok := r.byRef[ref]; ok {
		return c
	}
	if link, fragment, ok := strings.Cut(ref, "#"); ok && strings.HasPrefix(link, "urn:cdx:") {
		if plain, err := url.PathUnescape(fragment); err == nil {
			fragment = printable(plain)
		}
		if c, ok := r.byRef[fragment]; ok {
			return c
		}
		ref = fragment
	}
	return mentioned(ref)
}
