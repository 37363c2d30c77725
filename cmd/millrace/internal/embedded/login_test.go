package embedded

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/stage"
)

// Releases go to registries of others, with the logins that Docker's configuration or
// the settings have, and are deployed from there. Without a login that suffices they end
// with a reason that says so, and have no name.
func TestForeignRegistries(t *testing.T) {
	t.Parallel()
	i := install(t, bus.AckWait)
	i.images("busybox:1.37")
	plain, guarded := i.foreign(distribution(t, false)), i.foreign(distribution(t, true))
	at := func(r *relay) event.Commit {
		return repository(t, "page", page("one", "PORT", "8080", "image: page", "image: "+r.host()+"/team/page"))
	}
	right := fmt.Sprintf("%s=%s:%s", guarded.host(), registryUser, registryPassword)
	refused := at(guarded)
	i.refuses(guarded, refused, "no login was shown", "DOCKER_CONFIG="+t.TempDir())
	// The settings come before Docker's configuration.
	wrong := fmt.Sprintf("MILLRACE_REGISTRY_LOGINS=elsewhere.example.com=joe:1234\t%s=%s:not-%s", guarded.host(), registryUser, registryPassword)
	i.refuses(guarded, refused, `the login of user "ann" does not suffice`, dockerConfig(t, guarded.host(), registryPassword), wrong)

	end := i.serveBoth(dockerConfig(t, guarded.host(), registryPassword))
	first := i.released(guarded, at(guarded))
	i.pulled(guarded, first.Image)
	end()

	end = i.serveBoth("DOCKER_CONFIG="+t.TempDir(), "MILLRACE_REGISTRY_LOGINS="+right+"\nelsewhere.example.com=joe:1234")
	second := at(guarded)
	second = again(t, second, page("two", "PORT", "8080", "image: page", "image: "+guarded.host()+"/team/page"))
	i.pulled(guarded, i.released(guarded, second).Image)
	i.twice(plain, at(plain))
	end()
}

// foreign is a registry whose images are removed from the engine at the end.
func (i *installation) foreign(r *relay) *relay {
	i.hosts = append(i.hosts, r.host())
	return r
}

// serveBoth starts a releaser and a deployer with more settings; end ends them.
func (i *installation) serveBoth(settings ...string) (end func()) {
	i.t.Helper()
	r, d := i.serve("releaser", "releaser", settings...), i.serve("deployer", "deployer", settings...)
	return func() { r.end(); d.end() }
}

// dockerConfig is a configuration of Docker's that has a login, as a variable.
func dockerConfig(t *testing.T, host, password string) string {
	t.Helper()
	dir := t.TempDir()
	auth := base64.StdEncoding.EncodeToString([]byte(registryUser + ":" + password))
	data, err := json.Marshal(map[string]any{"auths": map[string]any{host: map[string]string{"auth": auth}}})
	if err := errors.Join(err, os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600)); err != nil {
		t.Fatal(err)
	}
	return "DOCKER_CONFIG=" + dir
}

// refuses wants the registry to refuse the release, and the reason to say why.
func (i *installation) refuses(r *relay, c event.Commit, reason string, settings ...string) {
	i.t.Helper()
	n, err := i.Bus.Publish(i.t.Context(), c, nil)
	if err != nil {
		i.t.Fatal(err)
	}
	i.tryInVain(stage.Attempts - 1)
	p := i.serve("releaser", "releaser", append(settings, "MILLRACE_AHEAD=false")...) // for one release there is no next
	facts := i.facts(c.App, n)
	p.end()
	last := facts[len(facts)-1]
	if path(facts) != "test:succeeded build:succeeded release:errored" {
		i.t.Fatalf("%s: %s", path(facts), last.Reason)
	}
	for _, want := range []string{"not allowed by the registry", r.host(), reason, "docker login", "MILLRACE_REGISTRY_LOGINS"} {
		if !strings.Contains(last.Reason, want) {
			i.t.Errorf("want %q in %s", want, last.Reason)
		}
	}
	if strings.Contains(last.Reason, registryPassword) {
		i.t.Errorf("the password is told: %s", last.Reason)
	}
	stored := r.requests(func(q request) bool { return q.method == http.MethodPut && q.status < 300 })
	if len(stored) > 0 || last.Image != "" || len(last.Tags) > 0 || len(i.allTags(r, "team/page")) > 0 {
		i.t.Errorf("published as %s %q: %v", last.Image, last.Tags, stored)
	}
}

// tryInVain takes the next release n times and gives it back, as releasers do that fail:
// the pauses between their attempts add up to more than a minute.
func (i *installation) tryInVain(n int) {
	i.t.Helper()
	js, err := jetstream.New(i.nc)
	if err != nil {
		i.t.Fatal(err)
	}
	c, err := js.Consumer(i.t.Context(), bus.Deliveries, event.StageRelease)
	if err != nil {
		i.t.Fatal(err)
	}
	for range n {
		msg, err := c.Next(jetstream.FetchMaxWait(time.Minute))
		if err == nil {
			err = msg.Nak()
		}
		if err != nil {
			i.t.Fatal(err)
		}
	}
}

// released wants c to be delivered by way of the registry.
func (i *installation) released(r *relay, c event.Commit) event.Fact {
	i.t.Helper()
	r.forget()
	facts := i.deliver(c)
	last := facts[len(facts)-1]
	if path(facts) != delivered {
		i.t.Fatalf("%s: %s", path(facts), last.Reason)
	}
	repository, digest, _ := strings.Cut(last.Image, "@")
	if want := r.host() + "/team/page"; repository != want || !slices.Equal(last.Tags, []string{c.Short()}) || !slices.Contains(i.allTags(r, "team/page"), c.Short()) {
		i.t.Fatalf("released as %s %q, want %s with tag %s", last.Image, last.Tags, want, c.Short())
	}
	for _, ref := range []string{":" + c.Short(), "@" + digest} {
		if got := i.manifest(r, "team/page"+ref); got.Digest.String() != digest {
			i.t.Errorf("the registry has %s for %s, want %s", got.Digest, ref, digest)
		}
	}
	if got := i.digest(i.Registry + "/" + internal(c.App) + "@" + digest); got != digest {
		i.t.Errorf("accepted was %s, released is %s", got, digest)
	}
	i.onlyContainer(last)
	return last
}

// pulled wants the engine to have pulled an image from the registry.
func (i *installation) pulled(r *relay, image string) {
	i.t.Helper()
	if len(r.requests(func(q request) bool {
		return q.engine && q.status == http.StatusOK && strings.HasSuffix(image, "@"+q.reference)
	})) == 0 {
		i.t.Errorf("the engine did not pull %s from there", image)
	}
}

// twice delivers c and delivers it again, to the same digest and without sending it again.
func (i *installation) twice(r *relay, c event.Commit) {
	i.t.Helper()
	first := i.released(r, c)
	i.pulled(r, first.Image)
	sent := r.blobs()
	content := i.content(r, "team/page:"+c.Short())
	for _, digest := range content {
		if !slices.Contains(sent, digest) {
			i.t.Errorf("first, %s was not sent: %q", digest, sent)
		}
	}
	if again := i.released(r, c); again.Image != first.Image {
		i.t.Errorf("the same commit is %s, was %s", again.Image, first.Image)
	}
	for _, digest := range content {
		if slices.Contains(r.blobs(), digest) {
			i.t.Errorf("%s was sent again", digest)
		}
	}
	if images := r.images("team/page"); len(images) > 0 {
		i.t.Errorf("images %q were sent again", images)
	}
}

func (i *installation) options() []remote.Option {
	return []remote.Option{remote.WithContext(i.t.Context()), remote.WithAuth(&authn.Basic{Username: registryUser, Password: registryPassword})}
}

// manifest asks the registry.
func (i *installation) manifest(r *relay, ref string) *remote.Descriptor {
	i.t.Helper()
	named, err := name.ParseReference(r.host()+"/"+ref, name.Insecure)
	if err != nil {
		i.t.Fatal(err)
	}
	got, err := remote.Get(named, i.options()...)
	if err != nil {
		i.t.Fatal(err)
	}
	return got
}

// content are the digests of an image's configuration and layers.
func (i *installation) content(r *relay, ref string) []string {
	i.t.Helper()
	img, err := i.manifest(r, ref).Image()
	if err != nil {
		i.t.Fatal(err)
	}
	m, err := img.Manifest()
	if err != nil {
		i.t.Fatal(err)
	}
	digests := []string{m.Config.Digest.String()}
	for _, l := range m.Layers {
		digests = append(digests, l.Digest.String())
	}
	return digests
}

// allTags asks a registry; there are none where there is no such repository.
func (i *installation) allTags(r *relay, repository string) []string {
	i.t.Helper()
	named, err := name.NewRepository(r.host()+"/"+repository, name.Insecure)
	if err != nil {
		i.t.Fatal(err)
	}
	tags, err := remote.List(named, i.options()...)
	if err != nil && !strings.Contains(err.Error(), "NAME_UNKNOWN") {
		i.t.Fatal(err)
	}
	return tags
}
