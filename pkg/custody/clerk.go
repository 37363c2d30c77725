package custody

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millrace-cd/millrace/pkg/attest"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/stage"
	"github.com/millrace-cd/millrace/pkg/store"
)

const (
	// SBOMType is the media type of a bill of materials, and the type of its attachment.
	SBOMType = "application/vnd.cyclonedx+json"
	// ChainType is the type of the attachment that has the earlier statements, one bundle
	// a layer, so that an image can be verified where nothing else is.
	ChainType = "application/vnd.millrace.custody.v1"
)

// Registry is where statements are kept: attached to what they are about.
type Registry interface {
	Repository(app string, kind store.Kind) string
	Attach(ctx context.Context, a store.Attachment) (digest string, err error)
	Blob(ctx context.Context, repository, digest string, limit int64) ([]byte, error)
}

// Keys are of the service at work.
type Keys interface {
	Signer() (*attest.Signer, error)
	Ring() (attest.Ring, error)
}

// Clerk signs what a service found out, and verifies what others did before the service
// acts on it. It is safe for concurrent use.
type Clerk struct {
	Registry Registry
	Keys     Keys
}

// SignTested states what was tested, and sets t's TestStatement.
func (c Clerk) SignTested(ctx context.Context, t *event.Tested) error {
	st, err := ofTested(*t)
	if err != nil {
		return err
	}
	t.TestStatement, err = c.sign(ctx, t.Commit, st, at(t.Snapshot))
	return err
}

// SignBuilt states what was built, in the images that the pipeline file names used, and
// sets b's BuildStatement.
func (c Clerk) SignBuilt(ctx context.Context, b *event.Built, used []string) error {
	st, err := ofBuilt(*b, used)
	if err != nil {
		return err
	}
	subjects := []string{at(b.Artifact)}
	for _, p := range b.Platforms {
		subjects = append(subjects, at(p))
	}
	b.BuildStatement, err = c.sign(ctx, b.Commit, st, subjects...)
	return err
}

// SignReleased states what is released as r.Image and may get these tags, and sets r's
// ReleaseStatement. The image is in the registry under the names of internal and, by its
// digest alone, of r.Image. There the earlier statements are attached as well.
func (c Clerk) SignReleased(ctx context.Context, r *event.Released, internal string, tags ...string) error {
	chain := store.Attachment{Subject: r.Image, Type: ChainType, Annotations: inOrder(r.Commit)}
	for _, link := range []struct{ service, digest string }{{Builder, r.BuildStatement}, {Tester, r.TestStatement}} {
		data, err := c.bundle(r.App)(ctx, link.service, link.digest)
		if err != nil {
			return refuse(err)
		}
		chain.Layers = append(chain.Layers, store.Layer{Type: attest.BundleType, Data: data})
	}
	st, err := ofReleased(*r, tags)
	if err != nil {
		return err
	}
	if r.ReleaseStatement, err = c.sign(ctx, r.Commit, st, internal, r.Image); err != nil {
		return err
	}
	_, err = c.Registry.Attach(ctx, chain)
	return err
}

// sign attaches a statement to what it is about, and gives the digest of the bundle.
func (c Clerk) sign(ctx context.Context, of event.Commit, st attest.Statement, subjects ...string) (string, error) {
	signer, err := c.Keys.Signer()
	if err != nil {
		return "", err
	}
	data, err := signer.Sign(st)
	if err != nil {
		return "", err
	}
	if err := c.believed(data, st); err != nil {
		return "", err
	}
	annotations := inOrder(of)
	annotations["dev.sigstore.bundle.content"], annotations["dev.sigstore.bundle.predicateType"] = "dsse-envelope", st.PredicateType
	for _, s := range slices.Compact(slices.Sorted(slices.Values(subjects))) {
		_, err := c.Registry.Attach(ctx, store.Attachment{
			Subject: s, Type: attest.BundleType, Layers: []store.Layer{{Type: attest.BundleType, Data: data}}, Annotations: annotations,
		})
		if err != nil {
			return "", fmt.Errorf("attach the statement: %w", err)
		}
	}
	return DigestOf(data), nil
}

// believed makes sure that the next stage will believe what was signed: where a key has
// expired, a delivery must not end as refused for it.
func (c Clerk) believed(data []byte, st attest.Statement) error {
	ring, err := c.Keys.Ring()
	if err != nil {
		return err
	}
	service := map[string]string{TestResult: Tester, Provenance: Builder, Release: Releaser}[st.PredicateType]
	if _, _, err := ring.Verify(data, service, time.Now()); err != nil {
		return fmt.Errorf("nobody would believe what the %s signs: %w (see millrace keys rotate)", service, err)
	}
	return nil
}

// AttachSBOM attaches a bill of materials to images or blobs, by digest, and gives the
// digest of the document.
func (c Clerk) AttachSBOM(ctx context.Context, document []byte, subjects ...string) (string, error) {
	for _, s := range slices.Compact(slices.Sorted(slices.Values(subjects))) {
		_, err := c.Registry.Attach(ctx, store.Attachment{Subject: s, Type: SBOMType, Layers: []store.Layer{{Type: SBOMType, Data: document}}})
		if err != nil {
			return "", fmt.Errorf("attach the SBOM: %w", err)
		}
	}
	return DigestOf(document), nil
}

func at(b event.Blob) string { return b.Repository + "@" + b.Digest }

// VerifyTested makes sure that the tester stands behind what the event says. stored is
// when the event was. Where the chain does not hold, the error refuses the event.
func (c Clerk) VerifyTested(ctx context.Context, t event.Tested, stored time.Time) error {
	links, err := c.walk(ctx, t.App, stored, Tester, t.TestStatement, t.Snapshot.Digest)
	if err != nil {
		return refuse(err)
	}
	return refuse(links[0].says(t))
}

func refuse(err error) error {
	if errors.Is(err, ErrBroken) {
		return stage.Refuse("%w", err)
	}
	return err
}

// VerifyBuilt does the same for what was built, and for what was tested before.
func (c Clerk) VerifyBuilt(ctx context.Context, b event.Built, stored time.Time) error {
	links, err := c.walk(ctx, b.App, stored, Builder, b.BuildStatement, b.Artifact.Digest)
	if err != nil {
		return refuse(err)
	}
	return refuse(cmp.Or(links[0].saysBuilt(b), links[1].says(b.Tested)))
}

// VerifyReleased does the same for what was released, and for all before.
func (c Clerk) VerifyReleased(ctx context.Context, r event.Released, stored time.Time) error {
	_, digest, _ := strings.Cut(r.Image, "@")
	links, err := c.walk(ctx, r.App, stored, Releaser, r.ReleaseStatement, digest)
	if err != nil {
		return refuse(err)
	}
	return refuse(cmp.Or(links[0].saysReleased(r), links[1].saysBuilt(r.Built), links[2].says(r.Tested)))
}

func (c Clerk) walk(ctx context.Context, app string, stored time.Time, service, bundle, subject string) ([]Link, error) {
	ring, err := c.Keys.Ring()
	if err != nil {
		return nil, err
	}
	return Walker{Ring: ring, At: stored, Bundle: c.bundle(app)}.Walk(ctx, service, bundle, subject)
}

// bundle reads the statements of an app.
func (c Clerk) bundle(app string) func(ctx context.Context, service, digest string) ([]byte, error) {
	kinds := map[string]store.Kind{Tester: store.Snapshot, Builder: store.Artifact, Releaser: store.Image}
	return func(ctx context.Context, service, digest string) ([]byte, error) {
		if !strings.HasPrefix(digest, "sha256:") {
			return nil, broken(service, fmt.Errorf("%.80q is no digest", digest))
		}
		data, err := c.Registry.Blob(ctx, c.Registry.Repository(app, kinds[service]), digest, attest.MaxBundle)
		for _, lost := range []error{store.ErrMissing, store.ErrCorrupt, store.ErrTooLarge} {
			if errors.Is(err, lost) {
				return nil, broken(service, err)
			}
		}
		return data, err
	}
}

// says compares what a tester said with an event.
func (l *Link) says(t event.Tested) error {
	want, err := ofTested(t)
	if err != nil {
		return broken(l.Service, err)
	}
	return l.matches(t.Commit, want, pair{"images", images(t.Images), l.Images}, pair{"environments", t.Environments, l.environments})
}

func (l *Link) saysBuilt(b event.Built) error {
	want, err := ofBuilt(b, nil)
	if err != nil {
		return broken(l.Service, err)
	}
	return l.matches(b.Commit, want, pair{"statement before it", b.TestStatement, l.Delivery.Previous}, pair{"SBOM", artifactSBOMs(b), l.SBOMs})
}

func (l *Link) saysReleased(r event.Released) error {
	want, err := ofReleased(r, nil)
	if err != nil {
		return broken(l.Service, err)
	}
	return l.matches(r.Commit, want, pair{"statement before it", r.BuildStatement, l.Delivery.Previous},
		pair{"SBOM", imageSBOMs(r), l.SBOMs}, pair{"artifacts", artifacts(r.Built), l.Inputs})
}

// pair is something that an event says, and what was signed of it.
type pair struct {
	what         string
	said, signed any
}

// matches compares the commit, the subjects and more.
func (l *Link) matches(c event.Commit, want attest.Statement, more ...pair) error {
	if err := sameCommit(c, l.Delivery.Commit); err != nil {
		return broken(l.Service, err)
	}
	for _, p := range append(more, pair{"subjects", want.Subject, l.Statement.Subject}) {
		if !equal(p.said, p.signed) {
			return broken(l.Service, differs(p.what, p.said, p.signed))
		}
	}
	return nil
}

// equal compares values as they are signed.
func equal(a, b any) bool {
	x, err := json.Marshal(a)
	y, other := json.Marshal(b)
	return err == nil && other == nil && bytes.Equal(x, y)
}
