package releaser

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/millrace-cd/millrace/pkg/sbom"
)

// bill is what software is in an image.
type bill struct {
	platform string
	digest   string // of the image's manifest
	document []byte // CycloneDX
}

// bill writes a bill of materials for the image of each platform.
func (c *candidate) bill(ctx context.Context) (bills []bill, err error) {
	ctx, span := c.kit.Tracer.Start(ctx, "write SBOM")
	defer span.End()
	for _, platform := range slices.Sorted(maps.Keys(c.image.images)) {
		img := c.image.images[platform]
		digest, err := img.Digest()
		if err != nil {
			return nil, err
		}
		found, err := c.kit.Shelf.Image(ctx, img)
		if err != nil {
			return nil, err
		}
		document, err := found.Document(sbom.Subject{Kind: sbom.Image, Name: c.names.to, Version: c.out.Hash, Digest: digest.String()})
		if err != nil {
			return nil, err
		}
		bills = append(bills, bill{platform, digest.String(), document})
	}
	return bills, nil
}

// attach attaches the bills to the images, under both their names.
func (c *candidate) attach(ctx context.Context) error {
	c.out.SBOMs = map[string]string{}
	for _, b := range c.bills {
		var subjects []string
		for _, name := range []string{c.image.name, c.out.Image} {
			repository, _, _ := strings.Cut(name, "@")
			subjects = append(subjects, repository+"@"+b.digest)
		}
		digest, err := c.kit.Custody.AttachSBOM(ctx, b.document, subjects...)
		if err != nil {
			return err
		}
		c.out.SBOMs[b.platform] = digest
	}
	return nil
}
