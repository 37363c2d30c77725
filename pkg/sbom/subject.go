package sbom

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// Kind is what a bill of materials is of.
type Kind string

// The two kinds.
const (
	Artifact Kind = "application"
	Image    Kind = "container"
)

// Subject is what a bill of materials is of.
type Subject struct {
	Kind    Kind
	Name    string // of an image: its repository, such as registry.example/shop/web
	Version string // a version, or an image's tag; "" for none
	Digest  string // sha256:<hex>, of the artifact or of the image's manifest; "" for none

	Properties map[string]string // more to say of it, such as the commit
}

func (s Subject) component() (*cdx.Component, error) {
	if s.Kind != Artifact && s.Kind != Image || s.Name == "" {
		return nil, fmt.Errorf("bill of materials of %q: a subject needs a name, and is an artifact or an image", s.Name)
	}
	c := &cdx.Component{
		BOMRef: "subject", Type: cdx.ComponentType(s.Kind), Name: s.Name, Version: s.Version, PackageURL: s.purl(),
	}
	if s.Digest != "" {
		hash, ok := strings.CutPrefix(s.Digest, "sha256:")
		if sum, err := hex.DecodeString(hash); !ok || err != nil || len(sum) != sha256.Size || strings.ToLower(hash) != hash {
			return nil, fmt.Errorf("bill of materials of %q: the digest %q is not sha256:<64 hex digits>", s.Name, s.Digest)
		}
		c.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hash}}
	}
	if len(s.Properties) > 0 {
		properties := make([]cdx.Property, 0, len(s.Properties))
		for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
			properties = append(properties, cdx.Property{Name: name, Value: s.Properties[name]})
		}
		c.Properties = &properties
	}
	return c, nil
}

// purl names an image by its digest, and says where it is; an artifact by its version.
func (s Subject) purl() string {
	more := map[string]string{}
	if s.Kind == Artifact {
		if s.Digest != "" {
			more["checksum"] = s.Digest
		}
		namespace, name := path.Split(s.Name)
		return packageURL("generic", namespace, name, s.Version, more)
	}
	if strings.Contains(s.Name, "/") {
		more["repository_url"] = s.Name
	}
	if s.Version != "" {
		more["tag"] = s.Version
	}
	return packageURL("oci", "", strings.ToLower(path.Base(s.Name)), s.Digest, more)
}
