package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
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

func (b *billing) run(ctx context.Context, name string) error {
	s, image, err := b.find(ctx, name)
	if err != nil {
		return err
	}
	image.As = b.as
	document, err := b.signed(ctx, s, image)
	if err != nil {
		return err
	}
	return b.write(document)
}

// signed is the document that the releaser signed for. Where nobody says where keys are,
// and none are found, it is what is attached.
func (b *billing) signed(ctx context.Context, s *store.Store, image custody.Image) ([]byte, error) {
	ring, err := b.ring()
	if p, ok := errors.AsType[problem](err); ok && p.code == NotFound && !b.told() {
		b.say("warning: not verified, there are no keys: --keys DIR says where %s is", attest.TrustedFile)
		return b.attached(ctx, s, image)
	}
	if err != nil {
		return nil, err
	}
	links, err := custody.WalkImage(ctx, s, ring, time.Now(), image)
	if errors.Is(err, custody.ErrBroken) {
		return nil, problem{fmt.Errorf("%s: %w", image.Name, err), Failed, ""}
	}
	if err != nil {
		return nil, registryTrouble(err)
	}
	platform := cmp.Or(b.platform, "linux/"+runtime.GOARCH)
	repository, _, _ := strings.Cut(image.Name, "@")
	for _, r := range links[0].SBOMs {
		if r.Name == "sbom "+platform || len(links[0].SBOMs) == 1 && b.platform == "" {
			document, err := s.Blob(ctx, repository, "sha256:"+r.Digest["sha256"], maxDocument)
			if err != nil {
				return nil, registryTrouble(err)
			}
			return document, nil
		}
	}
	return nil, noBill(image)
}

// maxDocument is what fits into an attachment, in bytes.
const maxDocument = 16 << 20

func noBill(image custody.Image) error {
	return problem{fmt.Errorf("%s has no bill of materials for this platform", image.Name), NotFound, "images that Millrace released have one for each; --platform chooses"}
}

// attached is the first document that is attached to the image of the platform.
func (b *billing) attached(ctx context.Context, s *store.Store, image custody.Image) ([]byte, error) {
	img, err := s.ImageFor(ctx, image.Name, b.platform)
	if err != nil {
		return nil, registryTrouble(err)
	}
	digest, err := img.Digest()
	if err != nil {
		return nil, err
	}
	repository, _, _ := strings.Cut(image.Name, "@")
	attached, err := s.Attached(ctx, repository+"@"+digest.String(), custody.SBOMType)
	if err != nil {
		return nil, registryTrouble(err)
	}
	for _, a := range attached {
		layers, err := s.Layers(ctx, repository, a.Digest, maxDocument)
		if err == nil && len(layers) > 0 {
			return layers[0].Data, nil
		}
	}
	return nil, noBill(image)
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
