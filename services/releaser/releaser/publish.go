package releaser

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/millrace-cd/millrace/pkg/attest"
	"github.com/millrace-cd/millrace/pkg/custody"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/pipeline"
	"github.com/millrace-cd/millrace/pkg/stage"
	"github.com/millrace-cd/millrace/pkg/store"
)

// publication is where an image gets its name.
type publication struct {
	to   string // repository
	tags []store.Tag
}

// list are the tags that the image is to have.
func (p publication) list() (names []string) {
	for _, t := range p.tags {
		names = append(names, t.Name)
	}
	return names
}

// publication reads what the file says of names, before anything is made.
func (r releaser) publication(app string, file *pipeline.File, release pipeline.Release) (publication, error) {
	to, err := r.repository(app, release.Image)
	if err != nil {
		return publication{}, err
	}
	tags, err := tagsOf(file.Release.Tags, release.Tags)
	return publication{to, tags}, err
}

// repository is where the file wants the image; a name without a host is in the
// installation's own registry. There, apps have the repositories of their own name
// only: a file cannot overwrite another app's images, nor what we keep.
func (r releaser) repository(app, image string) (string, error) {
	host, rest, found := strings.Cut(image, "/")
	switch {
	case !found || !store.IsHost(host):
		image = r.kit.RegistryPublic + "/" + image
	case r.ours(host):
		image = hostOf(r.kit.RegistryPublic) + "/" + rest
	default:
		return image, nil
	}
	name, inside := strings.CutPrefix(image, r.kit.RegistryPublic+"/")
	if !inside || app == reserved || name != app && !strings.HasPrefix(name, app+"/") {
		return "", stage.Fail("release.image %s: in this registry, app %s may publish as %s or %s/…", rest, app, app, app)
	}
	return image, nil
}

// reserved begins the repositories of what we keep; an app of that name publishes elsewhere.
const reserved = "millrace"

func hostOf(registry string) string {
	host, _, _ := strings.Cut(registry, "/")
	return host
}

// ours tells whether a host is the installation's own registry, by whatever name: that of
// people, that of this process, or another one of a loopback address.
func (r releaser) ours(host string) bool {
	for _, own := range []string{hostOf(r.kit.RegistryPublic), hostOf(r.kit.Registry)} {
		if strings.EqualFold(host, own) || loopbackPort(own) != "" && loopbackPort(host) == loopbackPort(own) {
			return true
		}
	}
	return false
}

// loopbackPort is the port of a loopback address; "" of any other.
func loopbackPort(host string) string {
	name, port, err := net.SplitHostPort(host)
	if ip := net.ParseIP(name); err != nil || !strings.EqualFold(name, "localhost") && (ip == nil || !ip.IsLoopback()) {
		return ""
	}
	return port
}

var (
	// identity finds variables that name one commit or delivery.
	identity = regexp.MustCompile(`\$\{(commit|short|tag|version|number)\}`)
	// version is a whole one: 1.2 may move on to the next 1.2.x.
	version = regexp.MustCompile(`^v?\d+\.\d+\.\d+([-.+_].*)?$`)
)

// tagsOf are the tags as the file has them and with their variables filled in. One that
// stands for a version, a commit or a delivery is fixed; others, such as latest, move.
// Empty ones are left out: ${tag} names none in a delivery of a branch.
func tagsOf(templates, expanded []string) (tags []store.Tag, err error) {
	for i, name := range expanded {
		if name == "" {
			continue
		}
		if !store.ValidTag(name) {
			return nil, stage.Fail("release.tags: %.200q is not a tag: letters, digits, '_', '.' and '-', at most 128", name)
		}
		tags = append(tags, store.Tag{Name: name, Fixed: identity.MatchString(templates[i]) || version.MatchString(name)})
	}
	if len(tags) == 0 {
		return nil, stage.Fail("release.tags: none of %q names anything in this delivery: add \"${short}\"", templates)
	}
	return tags, nil
}

// free makes sure before acceptance that the image may have its tags after it.
func (c *candidate) free(ctx context.Context) error {
	_, digest, _ := strings.Cut(c.image.name, "@")
	return taken(c.names, c.kit.Store.CheckTags(ctx, c.names.to, digest, c.names.tags...))
}

// publish gives the accepted image its name. Nothing is built again: the name is for the
// digest that was tested. What is said of the image is there before its tags.
func (c *candidate) publish(ctx context.Context) error {
	ctx, span := c.kit.Tracer.Start(ctx, "publish image "+c.names.to)
	defer span.End()
	var err error
	if c.out.Image, err = c.kit.Store.Copy(ctx, c.image.name, c.names.to); err != nil {
		return err
	}
	if err := c.attach(ctx); err != nil {
		return err
	}
	if err := c.kit.Custody.SignReleased(ctx, c.out, c.image.name, c.names.list()...); err != nil {
		return err
	}
	return c.tag(ctx, c.names, c.out)
}

// tag gives the image its tags. One that moves never goes back from a newer delivery:
// releasers take turns, and leave it where it stands for one.
func (r releaser) tag(ctx context.Context, p publication, out *event.Released) error {
	tags := p.tags
	if slices.ContainsFunc(tags, func(t store.Tag) bool { return !t.Fixed }) {
		lease, held, err := r.kit.Bus.AcquireWhenFree(ctx, "tags."+out.App, fmt.Sprintf("delivery %d of %s", out.Number, out.App), func(string) {})
		if err != nil {
			return fmt.Errorf("wait for others to tag %s: %w", p.to, err)
		}
		defer lease.Release(context.WithoutCancel(ctx))
		ctx = held
		if tags, err = r.ahead(ctx, p, out.Commit); err != nil {
			return err
		}
	}
	if err := r.kit.Store.Tag(ctx, out.Image, tags...); err != nil {
		return taken(p, err)
	}
	for _, t := range tags {
		out.Tags = append(out.Tags, t.Name)
	}
	return nil
}

// ahead leaves out tags that stand for a newer delivery of the app, as a statement says
// that can be believed.
func (r releaser) ahead(ctx context.Context, p publication, c event.Commit) (tags []store.Tag, err error) {
	ring, err := r.kit.Custody.Keys.Ring()
	if err != nil {
		return nil, err
	}
	for _, t := range p.tags {
		if !t.Fixed {
			newer, err := r.newer(ctx, ring, p.to, t.Name, c)
			if err != nil {
				return nil, err
			}
			if newer > 0 {
				r.kit.Log.Info("a tag stands for a newer delivery", "app", c.App, "delivery", c.Number, "tag", t.Name, "newer", newer)
				continue
			}
		}
		tags = append(tags, t)
	}
	return tags, nil
}

// newer is the number of the newer delivery that a tag stands for; 0 if it does not.
func (r releaser) newer(ctx context.Context, ring attest.Ring, repository, tag string, c event.Commit) (uint64, error) {
	links, err := r.released(ctx, ring, repository, tag)
	if err != nil || links == nil {
		return 0, err
	}
	if d := links[0].Delivery; d.App == c.App && d.After(custody.Delivery{Commit: c}) {
		return d.Number, nil
	}
	return 0, nil
}

// released is the chain of the image that a tag stands for; nil where there is no such
// tag, or an image whose chain does not hold: it is not ours.
func (r releaser) released(ctx context.Context, ring attest.Ring, repository, tag string) ([]custody.Link, error) {
	digest, err := r.kit.Store.StandsFor(ctx, repository, tag)
	if err != nil || digest == "" {
		return nil, err
	}
	links, err := custody.WalkImage(ctx, r.kit.Store, ring, time.Now(), custody.Image{Name: repository + "@" + digest})
	if errors.Is(err, custody.ErrBroken) || errors.Is(err, store.ErrTooLarge) {
		return nil, nil
	}
	return links, err
}

// taken refuses a release that would take another one's name.
func taken(p publication, err error) error {
	if errors.Is(err, store.ErrTaken) {
		return stage.Refuse("release.tags of %s: %w; the tag of a version, a commit or a delivery is never moved: make a new one, or remove the tag from the registry if nobody uses it", p.to, err)
	}
	return err
}
