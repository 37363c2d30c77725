package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"
)

// Image is what the engine knows of an image.
type Image struct {
	Ref         string // as asked for
	Pinned      string // name@sha256:…, or sha256:… where no registry gave it a digest
	ID          string // sha256:…
	User        string
	Env         []string
	Entrypoint  []string
	Cmd         []string
	Ports       []int // exposed TCP ports, ascending
	Labels      map[string]string
	Healthcheck []string // as the image has it: CMD or CMD-SHELL, then the command
	Size        int64    // bytes
}

// Auth is what to show to a registry. The zero value shows nothing.
type Auth struct{ Username, Password, Token string }

// Policy says when an image is pulled.
type Policy int

// The policies. What is pinned is never pulled twice.
const (
	PullMissing Policy = iota // when the engine does not have it
	PullAlways                // ask the registry each time
	PullNever
)

// ErrNoImage says that an image does not exist, neither here nor where it was
// looked for. Trouble on the way to a registry is another error.
var ErrNoImage = errors.New("no such image")

// Resolve finds an image on the engine, or pulls it there as policy says, from the
// mirror of its registry if the operator has one. What came from a mirror is pinned
// under the mirror's name, here and on other engines: the digest says that it is the
// same.
func (e *Engine) Resolve(ctx context.Context, ref string, policy Policy) (Image, error) {
	source := e.cfg.Operator.mirrored(ref)
	if policy != PullAlways {
		found, err := e.inspectImage(ctx, ref)
		if source != ref && errors.Is(err, ErrNoImage) {
			if there, err := e.inspectImage(ctx, source); err == nil {
				there.Ref = ref
				return there, nil
			}
		}
		if err == nil || !errors.Is(err, ErrNoImage) || policy == PullNever {
			return found, err
		}
	}
	auth, _ := e.credentials(registryOf(source))
	if err := e.Pull(ctx, source, auth); err != nil {
		return Image{}, fromMirror(ref, source, err)
	}
	found, err := e.inspectImage(ctx, source)
	found.Ref = ref
	return found, err
}

// fromMirror tells people what they asked for, where the error names something else.
func fromMirror(ref, source string, err error) error {
	if ref == source {
		return err
	}
	return fmt.Errorf("image %s by the mirror of its registry: %w", ref, err)
}

// HasImage tells whether the engine has an image.
func (e *Engine) HasImage(ctx context.Context, ref string) (bool, error) {
	_, err := e.inspectImage(ctx, ref)
	if errors.Is(err, ErrNoImage) {
		return false, nil
	}
	return err == nil, err
}

// Pull fetches an image from its registry. The error is [ErrNoImage] where the
// registry says so.
func (e *Engine) Pull(ctx context.Context, ref string, auth Auth) error {
	err := e.pull(ctx, ref, auth)
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, absent := range []string{"manifest unknown", "not found", "repository does not exist", "name unknown"} {
		if strings.Contains(text, absent) && ctx.Err() == nil && !strings.Contains(text, "no such host") {
			err = fmt.Errorf("%w: %w", ErrNoImage, err)
			break
		}
	}
	return fmt.Errorf("pull %s from %s: %w", ref, registryOf(ref), err)
}

func (e *Engine) pull(ctx context.Context, ref string, auth Auth) error {
	opts := image.PullOptions{}
	if auth != (Auth{}) {
		encoded, err := registry.EncodeAuthConfig(registry.AuthConfig{
			Username: auth.Username, Password: auth.Password, RegistryToken: auth.Token, ServerAddress: registryOf(ref),
		})
		if err != nil {
			return err
		}
		opts.RegistryAuth = encoded
	}
	progress, err := e.api.ImagePull(ctx, ref, opts)
	if err != nil {
		return err
	}
	return drain(progress)
}

// drain reads an engine's progress messages to their end, which may be an error.
func drain(r io.ReadCloser) error {
	defer func() { _ = r.Close() }()
	for in := json.NewDecoder(r); ; {
		var message struct {
			Error string `json:"error"`
		}
		if err := in.Decode(&message); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if message.Error != "" {
			return errors.New(message.Error)
		}
	}
}

func (e *Engine) credentials(host string) (Auth, bool) {
	if e.cfg.Credentials == nil {
		return Auth{}, false
	}
	return e.cfg.Credentials(host)
}

// inspectImage reports an image that the engine has.
func (e *Engine) inspectImage(ctx context.Context, ref string) (Image, error) {
	found, err := e.api.ImageInspect(ctx, ref)
	if errdefs.IsNotFound(err) {
		return Image{}, fmt.Errorf("%w: %s", ErrNoImage, ref)
	}
	if err != nil {
		return Image{}, fmt.Errorf("look at image %s: %w", ref, err)
	}
	img := Image{Ref: ref, ID: found.ID, Pinned: pinned(ref, found.ID, found.RepoDigests), Size: found.Size}
	if c := found.Config; c != nil {
		img.User, img.Env, img.Entrypoint, img.Cmd, img.Labels = c.User, c.Env, c.Entrypoint, c.Cmd, c.Labels
		if c.Healthcheck != nil {
			img.Healthcheck = c.Healthcheck.Test
		}
		for port := range c.ExposedPorts {
			number, proto, _ := strings.Cut(port, "/")
			if n, err := strconv.Atoi(number); err == nil && proto != "udp" && proto != "sctp" {
				img.Ports = append(img.Ports, n)
			}
		}
		slices.Sort(img.Ports)
	}
	return img, nil
}

// pinned is the name of an image that always means these bytes.
func pinned(ref, id string, digests []string) string {
	if strings.Contains(ref, "@sha256:") {
		return ref
	}
	for _, d := range digests {
		if name, _, ok := strings.Cut(d, "@"); ok && fullName(name) == fullName(ref) {
			return d
		}
	}
	return id
}

// fullName is a reference's repository with its registry, without tag and digest.
func fullName(ref string) string {
	ref = withoutTag(ref)
	host, rest, ok := strings.Cut(ref, "/")
	if !ok {
		return "docker.io/library/" + ref
	}
	if !strings.ContainsAny(host, ".:") && host != "localhost" {
		return "docker.io/" + ref
	}
	if host == "index.docker.io" {
		host = "docker.io"
	}
	if host == "docker.io" && !strings.Contains(rest, "/") {
		rest = "library/" + rest
	}
	return host + "/" + rest
}

// withoutTag is a reference without tag and digest.
func withoutTag(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		ref = ref[:i]
	}
	return ref
}

// registryOf is the registry that a reference names.
func registryOf(ref string) string {
	host, _, _ := strings.Cut(fullName(ref), "/")
	return host
}
