package releaser

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/millrace-cd/millrace/pkg/archive"
	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/dockerfile"
	"github.com/millrace-cd/millrace/pkg/image"
	"github.com/millrace-cd/millrace/pkg/snapshot"
	"github.com/millrace-cd/millrace/pkg/stage"
	"github.com/millrace-cd/millrace/pkg/workspace"
)

// build makes the image of the Dockerfile that was tested, from images that were pinned
// then, with the artifact for a context and nothing else of the source.
func (m *making) build(ctx context.Context, t target) (v1.Image, error) {
	plan, pins, err := m.plan(ctx)
	if err != nil {
		return nil, err
	}
	var base v1.Image
	if plan.Base != dockerfile.Scratch {
		if base, err = m.base(ctx, plan.Base, t); err != nil {
			return nil, err
		}
	}
	view, err := m.artifact(ctx, t, "dockerfile")
	if err != nil {
		return nil, err
	}
	defer func() { _ = view.Remove() }()
	session, err := m.kit.Engine.Open(ctx, m.owner, container.SessionOptions{})
	if err != nil {
		return nil, err
	}
	defer session.Close(ctx)
	return m.builtIn(ctx, session, &recipe{making: m, target: t, plan: plan, pins: pins, base: base, artifact: view})
}

// plan reads the Dockerfile, and finds the images that it names.
func (m *making) plan(ctx context.Context) (*dockerfile.Build, map[string]string, error) {
	tree, err := m.source.Tree(ctx, "snapshot", m.built.Snapshot, false)
	if err != nil {
		return nil, nil, err
	}
	plan, err := snapshot.Dockerfile(tree, m.built.Commit, *m.release.Dockerfile, m.kit.Engine.Info().Architecture)
	if err != nil {
		return nil, nil, err
	}
	images, err := m.kit.Resolve(ctx, m.built.Images, plan.Images...)
	if err != nil {
		return nil, nil, err
	}
	pins := map[string]string{}
	for name, found := range images {
		pins[name] = found.Pinned
		triggers, err := m.kit.Engine.Triggers(ctx, found.Pinned)
		if err != nil {
			return nil, nil, err
		}
		if err := dockerfile.CheckTriggers(name, triggers, m.release.Dockerfile.Network); err != nil {
			return nil, nil, stage.Fail("release.dockerfile: %w", err)
		}
	}
	return plan, pins, nil
}

// recipe is a Dockerfile with all that it needs.
type recipe struct {
	*making

	target   target
	plan     *dockerfile.Build
	pins     map[string]string // of images, by their names in the file
	base     v1.Image          // of the result; nil for one from scratch
	artifact *workspace.View

	lines  []dockerfile.Line // the engine's instructions
	labels map[string]string // what is made on the way is marked with
	at     int               // number of the instruction under way
}

// builtIn builds the image and makes it reproducible.
func (m *making) builtIn(ctx context.Context, session *container.Session, r *recipe) (made v1.Image, err error) {
	err = m.record(ctx, "dockerfile", r.plan.Base, func(ctx context.Context, out io.Writer, env map[string]string) (int, string, error) {
		end, err := session.Build(ctx, container.Build{
			Name: "dockerfile", Attempt: m.owner.Attempt, Dockerfile: r.text, Context: r.context, Begins: r.begins,
			Args: r.plan.Args(map[string]string{epoch: env[epoch]}), Network: m.release.Dockerfile.Network, Timeout: recipeTimeout,
		}, out, func(ctx context.Context, id string) (err error) {
			made, err = r.rebuilt(ctx, id)
			return err
		})
		if errors.Is(err, archive.ErrRefused) {
			return 0, err.Error(), nil
		}
		return end.Code, r.failure(end), err
	})
	return made, err
}

func (r *recipe) text(labels map[string]string) (text string) {
	r.labels = labels
	text, r.lines = r.plan.Text(r.pins, labels)
	return text
}

// begins is what the log says of an instruction: its line and text in the file.
func (r *recipe) begins(n int) string {
	if n < 1 || n > len(r.lines) {
		return ""
	}
	if r.lines[n-1].Number > 0 {
		r.at = n
	}
	return r.where(n)
}

func (r *recipe) where(n int) string {
	if n < 1 || n > len(r.lines) || r.lines[n-1].Number == 0 {
		return ""
	}
	return fmt.Sprintf("%s:%d: %s", r.release.Dockerfile.File, r.lines[n-1].Number, r.lines[n-1].Text)
}

// failure tells which instruction failed, and why.
func (r *recipe) failure(end container.Built) string {
	reason := end.Reason
	switch {
	case end.TimedOut:
		reason = failure(end.Exit, recipeTimeout)
	case end.Code == 137: // the engine does not tell why it was killed
		reason = fmt.Sprintf("it was killed, perhaps since it used more memory than the limit of %d MiB", container.DefaultMemory>>20)
	case end.Code != 0:
		reason = failure(end.Exit, recipeTimeout)
	}
	if reason == "" {
		return ""
	}
	return strings.TrimPrefix(fmt.Sprintf("%.300s: %s", r.where(r.at), reason), ": ")
}

// context is the artifact, below artifact/.
func (r *recipe) context(w *tar.Writer) error {
	entries, err := r.artifact.Files([]string{"**"}, archive.Artifact())
	if err != nil {
		return err
	}
	dirs := map[string]bool{".": true}
	for _, e := range entries {
		e.Path = path.Join(artifactDir[1:], e.Path)
		if err := addDirs(w, path.Dir(e.Path), dirs); err != nil {
			return err
		}
		if err := addEntry(w, e); err != nil {
			return fmt.Errorf("add %q to the context: %w", e.Path, err)
		}
	}
	return nil
}

// addDirs adds a directory and those above it, unless they are there: engines differ in
// what modes they give to those that no tar names.
func addDirs(w *tar.Writer, dir string, there map[string]bool) error {
	if there[dir] {
		return nil
	}
	if err := addDirs(w, path.Dir(dir), there); err != nil {
		return err
	}
	there[dir] = true
	return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: time.Unix(0, 0)})
}

func addEntry(w *tar.Writer, e archive.Entry) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: e.Path, Mode: 0o644, Size: e.Size, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
	if e.Executable {
		h.Mode = 0o755
	}
	if e.Link != "" {
		h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, e.Link, 0
		return w.WriteHeader(h)
	}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	in, err := e.Open()
	if err != nil {
		return err
	}
	_, err = io.CopyN(w, in, e.Size)
	return errors.Join(err, in.Close())
}

// rebuilt is what the engine built, with the same bytes whenever and wherever it did.
func (r *recipe) rebuilt(ctx context.Context, id string) (v1.Image, error) {
	img, err := r.kit.LocalImage(ctx, id)
	if err != nil {
		return nil, err
	}
	defer r.kit.ForgetImage(id)
	if img, err = unmarked(img, r.labels); err != nil {
		return nil, err
	}
	made, err := image.Rebuild(r.kit.TempDir(), img, r.base, r.settings(r.target))
	if err != nil {
		return nil, err
	}
	r.out.hold(made.Close)
	return made.Image, nil
}

// unmarked is an image without the labels of its build, which no other build has.
func unmarked(img v1.Image, labels map[string]string) (v1.Image, error) {
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	maps.DeleteFunc(config.Config.Labels, func(name, _ string) bool { _, is := labels[name]; return is })
	config.History = slices.DeleteFunc(config.History, func(h v1.History) bool {
		return h.EmptyLayer && strings.Contains(h.CreatedBy, "LABEL") && mentions(h.CreatedBy, labels)
	})
	return mutate.ConfigFile(img, config)
}

// mentions tells whether a text has all the names and values.
func mentions(text string, labels map[string]string) bool {
	for name, value := range labels {
		if !strings.Contains(text, name) || !strings.Contains(text, value) {
			return false
		}
	}
	return len(labels) > 0
}
