package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace-cd/millrace/cmd/millrace/internal/embedded"
	"github.com/millrace-cd/millrace/cmd/millrace/internal/render"
	"github.com/millrace-cd/millrace/pkg/attest"
	"github.com/millrace-cd/millrace/pkg/custody"
	"github.com/millrace-cd/millrace/pkg/service"
	"github.com/millrace-cd/millrace/pkg/store"
)

const verifyLong = `Verify that an image is what Millrace released: image, artifact, snapshot, tree and commit,
each by the statement of the service that made it. It needs the image's registry and the
public keys (` + attest.TrustedFile + `), and nothing else.

The image has to have been released under this name, and to be tagged so where you name it
by a tag. That a tag stands for this image, and not for an older one that had the same tag
once, is the registry's word alone: name it by digest where that matters.

A name without a host is in the registry MILLRACE_REGISTRY. Logins are those of Docker's
configuration, or of MILLRACE_REGISTRY_LOGINS. The keys have to be trusted now, or --at a
time at which you know that the image was there.

Exit code 1 says that the chain does not hold, and the message at which link it broke.`

const verifyExample = `  millrace verify shop:1.4.0
  millrace verify registry.example.com/shop@sha256:… --keys trusted/
  millrace verify shop -o json`

// verification is one call of verify.
type verification struct {
	*app

	keys, at, as string
}

func (a *app) verify() *cobra.Command {
	v := &verification{app: a}
	cmd := &cobra.Command{
		Use: "verify IMAGE[:TAG|@DIGEST]", Short: "Verify where an image comes from, back to its commit", Long: verifyLong, Example: verifyExample,
		Args: between(1, 1, "the name of an image"),
		RunE: func(cmd *cobra.Command, args []string) error { return v.run(cmd.Context(), args[0]) },
	}
	v.keysFlag(cmd)
	cmd.Flags().StringVar(&v.at, "at", "", "when the keys have to be trusted, as 2026-01-31T12:00:00Z; now by default")
	a.outputFlag(cmd)
	return cmd
}

func (v *verification) keysFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&v.as, "as", "", "repository that it was released as, where this is a copy such as a mirror's")
	cmd.Flags().StringVar(&v.keys, "keys", "", "directory with "+attest.TrustedFile+" (MILLRACE_KEYS_DIR; default millrace-keys, or that of millrace up)")
}

func (v *verification) run(ctx context.Context, image string) error {
	at := time.Now()
	if v.at != "" {
		var err error
		if at, err = time.Parse(time.RFC3339, v.at); err != nil {
			return usage(fmt.Errorf("--at %q is not a time", v.at), "write it as 2026-01-31T12:00:00Z")
		}
	}
	ring, err := v.ring()
	if err != nil {
		return err
	}
	s, i, err := v.find(ctx, image)
	if err != nil {
		return err
	}
	i.As, image = v.as, i.Name
	links, err := custody.WalkImage(ctx, s, ring, at, i)
	if errors.Is(err, custody.ErrBroken) {
		return problem{fmt.Errorf("%s: %w", image, err), Failed, "do not run it, unless you know better where it comes from"}
	}
	if err != nil {
		return registryTrouble(err)
	}
	switch v.output {
	case "json":
		return v.json(chainOf(image, links))
	case "name":
		return v.print(image)
	}
	return render.Custody(v.screen.Out, image, links)
}

// ring are the keys that are trusted.
func (v *verification) ring() (attest.Ring, error) {
	settings, err := service.Parse[struct {
		Dir     string `env:"KEYS_DIR"`
		Trusted string `env:"TRUSTED_KEYS"`
	}]()
	if err != nil {
		return nil, usage(err, "")
	}
	if v.keys == "" && settings.Trusted != "" {
		return attest.ParseRing([]byte(settings.Trusted))
	}
	for _, dir := range []string{v.keys, settings.Dir} {
		if dir != "" {
			return loadRing(dir)
		}
	}
	if data, err := v.dataDir(); err == nil && !exists("millrace-keys") && exists(filepath.Join(data, embedded.KeysDir)) {
		return loadRing(filepath.Join(data, embedded.KeysDir))
	}
	return loadRing("millrace-keys")
}

// told tells whether somebody said where the keys are.
func (v *verification) told() bool {
	return v.keys != "" || v.screen.Lookup("MILLRACE_KEYS_DIR") != "" || v.screen.Lookup("MILLRACE_TRUSTED_KEYS") != ""
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

func loadRing(dir string) (attest.Ring, error) {
	ring, err := attest.Load(dir)
	if err != nil {
		return nil, problem{err, NotFound, "--keys DIR says where " + attest.TrustedFile + " is"}
	}
	return ring, nil
}

// find is the registry that has the image, and what the image is.
func (a *app) find(ctx context.Context, image string) (*store.Store, custody.Image, error) {
	cfg, err := service.Parse[service.Config]()
	if err != nil {
		return nil, custody.Image{}, usage(err, "")
	}
	s, err := cfg.OpenStore()
	if err != nil {
		return nil, custody.Image{}, usage(err, "")
	}
	if host, _, found := strings.Cut(image, "/"); !found || !store.IsHost(host) {
		image = cmp.Or(cfg.RegistryPublic, cfg.Registry) + "/" + image
	}
	name, digest, _ := strings.Cut(image, "@")
	tag := ""
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name, tag = name[:i], name[i+1:]
	}
	if digest == "" {
		tag = cmp.Or(tag, "latest")
		if digest, err = s.Digest(ctx, name+":"+tag); err != nil {
			return nil, custody.Image{}, registryTrouble(err)
		}
	}
	return s, custody.Image{Name: name + "@" + digest, Tag: tag}, nil
}

func registryTrouble(err error) error {
	switch {
	case errors.Is(err, store.ErrMissing):
		return problem{err, NotFound, "MILLRACE_REGISTRY says where the registry is, where the name has no host"}
	case errors.Is(err, store.ErrDenied):
		return problem{err, Denied, ""} // says what to do
	}
	return problem{err, System, ""}
}

// chainLine is a link as programs get it.
type chainLine struct {
	Service   string            `json:"service"`
	Key       string            `json:"key"`
	Bundle    string            `json:"bundle"`
	Type      string            `json:"predicateType"`
	Subject   []attest.Resource `json:"subject"`
	Results   custody.Results   `json:"results"`
	SBOMs     []attest.Resource `json:"sboms,omitempty"`
	Statement attest.Statement  `json:"statement"`
}

type chain struct {
	Image    string           `json:"image"`
	Delivery custody.Delivery `json:"delivery"`
	Links    []chainLine      `json:"links"` // from the image back to the commit
}

func chainOf(image string, links []custody.Link) chain {
	c := chain{Image: image, Delivery: links[0].Delivery}
	for _, l := range links {
		c.Links = append(c.Links, chainLine{l.Service, l.Key.ID, l.Bundle, l.Statement.PredicateType, l.Statement.Subject, l.Results, l.SBOMs, l.Statement})
	}
	return c
}
