package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace-cd/millrace/cmd/millrace/internal/render"
	"github.com/millrace-cd/millrace/pkg/attest"
	"github.com/millrace-cd/millrace/pkg/custody"
	"github.com/millrace-cd/millrace/pkg/delivery"
	"github.com/millrace-cd/millrace/pkg/sbom"
	"github.com/millrace-cd/millrace/pkg/store"
)

const sbomLong = `Show what software is in an image: the bill of materials that is attached to it. With
-o json it is the CycloneDX document as it is, for scanners and archives.

Where there are keys, as for millrace verify, the document has to be the one that the
releaser signed for. Without any it is shown as it is, and a warning says so.`

const sbomExample = `  millrace sbom shop:1.4.0
  millrace sbom shop:1.4.0 --platform linux/arm64 -o json > shop.cdx.json`

// billing is one call of sbom.
type billing struct {
	*verification

	platform string
}

func (a *app) sbom() *cobra.Command {
	b := &billing{verification: &verification{app: a}}
	cmd := &cobra.Command{
		Use: "sbom IMAGE[:TAG|@DIGEST]", Short: "Show what software is in an image", Long: sbomLong, Example: sbomExample,
		Args: between(1, 1, "the name of an image"),
		RunE: func(cmd *cobra.Command, args []string) error { return b.run(cmd.Context(), args[0]) },
	}
	cmd.Flags().StringVar(&b.platform, "platform", "", "of an image for several, such as linux/arm64; this machine's by default")
	b.keysFlag(cmd)
	a.outputFlag(cmd)
	return cmd
}

func (b *billing) run(ctx context.Context, image string) error {
	s, image, err := b.find(ctx, image)
	if err != nil {
		return err
	}
	signed, err := b.signed(ctx, s, image)
	if err != nil {
		return err
	}
	documents, err := b.documents(ctx, s, image)
	if err != nil {
		return registryTrouble(err)
	}
	for _, d := range documents {
		if signed == nil || signed[custody.DigestOf(d)] {
			return b.write(d)
		}
	}
	if len(documents) > 0 {
		return problem{fmt.Errorf("%s: what is attached as its bill of materials is not what the releaser signed for", image), Failed, ""}
	}
	return problem{fmt.Errorf("%s has no bill of materials attached", image), NotFound, "images that Millrace released have one"}
}

// signed are the digests of the documents that the releaser signed for; nil where there
// are no keys to tell.
func (b *billing) signed(ctx context.Context, s *store.Store, image string) (map[string]bool, error) {
	ring, err := b.ring()
	if p, ok := errors.AsType[problem](err); ok && p.code == NotFound && b.keys == "" {
		b.say("warning: not verified, there are no keys: --keys DIR says where %s is", attest.TrustedFile)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	links, err := custody.WalkImage(ctx, s, ring, time.Now(), image)
	if errors.Is(err, custody.ErrBroken) {
		return nil, problem{fmt.Errorf("%s: %w", image, err), Failed, ""}
	}
	if err != nil {
		return nil, registryTrouble(err)
	}
	digests := map[string]bool{}
	for _, r := range links[0].SBOMs {
		digests["sha256:"+r.Digest["sha256"]] = true
	}
	return digests, nil
}

// documents are those attached to the image of the platform.
func (b *billing) documents(ctx context.Context, s *store.Store, image string) (all [][]byte, err error) {
	img, err := s.ImageFor(ctx, image, b.platform)
	if err != nil {
		return nil, err
	}
	digest, err := img.Digest()
	if err != nil {
		return nil, err
	}
	repository, _, _ := strings.Cut(image, "@")
	attached, err := s.Attached(ctx, repository+"@"+digest.String(), custody.SBOMType)
	if err != nil {
		return nil, err
	}
	for _, a := range attached {
		layers, err := s.Layers(ctx, repository, a.Digest)
		if err != nil {
			return nil, err
		}
		for _, l := range layers {
			all = append(all, l.Data)
		}
	}
	return all, nil
}

func (b *billing) write(document []byte) error {
	if b.output == "json" {
		_, err := b.screen.Out.Write(document)
		return err
	}
	summary, err := sbom.Parse(document)
	if err != nil {
		return err
	}
	if b.output == "name" {
		for _, c := range summary.Components {
			if err := b.print(delivery.Text(c.PURL)); err != nil {
				return err
			}
		}
		return nil
	}
	return render.SBOM(b.screen.Out, summary)
}
