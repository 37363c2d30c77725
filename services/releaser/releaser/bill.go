package releaser

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/sbom"
)

// bill is what software is in an image.
type bill struct {
	platform string
	digest   string // of the image's manifest
	document []byte // CycloneDX
}

// bill writes a bill of materials for the image of each platform.
func (r releaser) bill(ctx context.Context, a *assembled, b event.Built, repository string) (bills []bill, err error) {
	ctx, span := r.kit.Tracer.Start(ctx, "write SBOM")
	defer span.End()
	for _, platform := range slices.Sorted(maps.Keys(a.images)) {
		img := a.images[platform]
		digest, err := img.Digest()
		if err != nil {
			return nil, err
		}
		found, err := r.kit.Shelf.Image(ctx, img)
		if err != nil {
			return nil, err
		}
		document, err := found.Document(sbom.Subject{Kind: sbom.Image, Name: repository, Version: b.Hash, Digest: digest.String()})
		if err != nil {
			return nil, err
		}
		bills = append(bills, bill{platform, digest.String(), document})
	}
	return bills, nil
}

// attach attaches the bills to the images, under all their names.
func (r releaser) attach(ctx context.Context, bills []bill, out *event.Released, names ...string) error {
	out.SBOMs = map[string]string{}
	for _, b := range bills {
		var subjects []string
		for _, name := range names {
			repository, _, _ := strings.Cut(name, "@")
			subjects = append(subjects, repository+"@"+b.digest)
		}
		digest, err := r.kit.Custody.AttachSBOM(ctx, b.document, subjects...)
		if err != nil {
			return err
		}
		out.SBOMs[b.platform] = digest
	}
	return nil
}
