// Package tester turns a commit into a tested snapshot.
//
// It alone speaks to git. It fetches exactly the commit, packs its tree so that the
// same tree has the same digest, stores that as the snapshot and runs the tests of
// the pipeline file on it. All later stages get the snapshot's digest and nothing
// else, so what was tested is what they work on.
package tester

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/millrace-cd/millrace/pkg/archive"
	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/git"
	"github.com/millrace-cd/millrace/pkg/pipeline"
	"github.com/millrace-cd/millrace/pkg/service"
	"github.com/millrace-cd/millrace/pkg/snapshot"
	"github.com/millrace-cd/millrace/pkg/stage"
	"github.com/millrace-cd/millrace/pkg/step"
	"github.com/millrace-cd/millrace/pkg/store"
	"github.com/millrace-cd/millrace/pkg/workspace"
)

// Config is what only the tester needs: how it may reach repositories.
type Config struct {
	Protocols  []string `env:"GIT_PROTOCOLS" envDefault:"https,ssh"` // file allows local paths
	CAFile     string   `env:"GIT_CA_FILE"`
	Proxy      string   `env:"GIT_PROXY"`
	SSHKey     string   `env:"GIT_SSH_KEY_FILE"`
	KnownHosts string   `env:"GIT_KNOWN_HOSTS_FILE"`
	Parallel   int      `env:"PARALLEL_STEPS"` // steps of one delivery at the same time; 0 = as many as the engine has cores
}

// Serve tests commits until ctx ends.
func Serve(ctx context.Context, k *service.Kit, cfg Config) error {
	repositories, err := git.Open(git.Config{
		Dir: filepath.Join(k.DataDir, "git"), Protocols: cfg.Protocols, CAFile: cfg.CAFile, Proxy: cfg.Proxy,
		SSHKey: cfg.SSHKey, KnownHosts: cfg.KnownHosts,
	})
	if err != nil {
		return err
	}
	t := tester{kit: k, git: repositories, steps: k.Steps(cfg.Parallel)}
	return stage.Work(ctx, k.Bus, t.run, service.Options[event.Commit](k))
}

type tester struct {
	kit   *service.Kit
	git   *git.Git
	steps *step.Runner
}

// run tests a commit. What it returns beside an error is what was found out before.
// The snapshot is stored while the tests run on what it was made of.
func (t tester) run(ctx context.Context, j stage.Job[event.Commit]) (event.Tested, error) {
	out := event.Tested{Commit: j.Event}
	upload, err := t.checkout(ctx, &out)
	if err != nil {
		return out, err
	}
	defer func() { _ = upload.Tar.Remove() }()
	all, inner := errgroup.WithContext(ctx)
	all.Go(func() error { return t.store(inner, upload) })
	all.Go(func() error { return t.testAll(inner, j, upload, &out) })
	if err := all.Wait(); err != nil {
		return out, err
	}
	if err := step.Failure(out.Tests); err != nil {
		return out, stage.Fail("%w", err)
	}
	if out.Untrusted {
		return out, nil // nobody is to go on from here
	}
	return out, t.kit.Custody.SignTested(ctx, &out)
}

// checkout makes the snapshot of the commit, in a file.
func (t tester) checkout(ctx context.Context, out *event.Tested) (upload store.Upload, err error) {
	ctx, span := t.kit.Tracer.Start(ctx, "checkout")
	defer span.End()
	c := &out.Commit
	found, err := t.git.Fetch(ctx, c.Repository, c.Hash, c.Ref)
	if err != nil {
		return upload, blame("fetch", err)
	}
	// What the event said of the commit was hearsay.
	c.Author, c.Message, c.Time, out.Tree = found.Author, found.Message, found.Time.UTC(), found.Tree
	tar, err := archive.Spool(t.kit.TempDir(), func(w io.Writer) (archive.Stats, error) {
		return t.git.Archive(ctx, c.Repository, c.Hash, "", w)
	})
	if err != nil {
		return upload, blame("archive", err)
	}
	upload = store.Upload{App: c.App, Kind: store.Snapshot, Tar: tar}
	out.Snapshot, err = t.kit.Store.Describe(upload)
	return upload, err
}

func (t tester) store(ctx context.Context, upload store.Upload) error {
	ctx, span := t.kit.Tracer.Start(ctx, "store snapshot")
	defer span.End()
	_, err := t.kit.Store.Put(ctx, upload)
	return err
}

// testAll reads the pipeline file of the snapshot and runs its tests.
func (t tester) testAll(ctx context.Context, j stage.Job[event.Commit], upload store.Upload, out *event.Tested) error {
	trees := func(ctx context.Context, shared bool) (*workspace.Tree, error) {
		return t.kit.Trees.Tree(ctx, out.Snapshot.Digest, shared, func(context.Context) (io.ReadCloser, error) { return upload.Tar.Open() })
	}
	tree, err := trees(ctx, false)
	if errors.Is(err, archive.ErrRefused) {
		return stage.Fail("%w", err)
	}
	if err != nil {
		return err
	}
	file, err := snapshot.Pipeline(tree, out.Commit)
	if err != nil {
		return err
	}
	out.Environments = file.Environments()
	refs, err := t.imagesOf(tree, file, out.Commit)
	if err != nil {
		return err
	}
	images, err := t.kit.ResolveAll(ctx, refs)
	if err != nil {
		return err
	}
	out.Images = service.Pins(images)
	out.Tests, err = t.test(ctx, j, *out, file, images, trees)
	return err
}

// imagesOf lists the images that the pipeline file names, and its Dockerfile: all that the
// delivery is to pin.
func (t tester) imagesOf(tree *workspace.Tree, file *pipeline.File, c event.Commit) ([]string, error) {
	refs := file.ImageRefs()
	if file.Release.Dockerfile == nil {
		return refs, nil
	}
	release, err := file.Release.Expand(snapshot.Vars(c))
	if err != nil {
		return nil, stage.Fail("%w", err)
	}
	build, err := snapshot.Dockerfile(tree, c, *release.Dockerfile, t.kit.Engine.Info().Architecture)
	if err != nil {
		return nil, err
	}
	for _, image := range build.Images {
		if !slices.Contains(refs, image) {
			refs = append(refs, image)
		}
	}
	return refs, nil
}

// blame tells the commit's fault from ours.
func blame(verb string, err error) error {
	switch {
	case errors.Is(err, git.ErrRefused):
		return stage.Refuse("%w", err)
	case errors.Is(err, git.ErrNotFound), errors.Is(err, archive.ErrRefused):
		return stage.Fail("%w", err)
	}
	return fmt.Errorf("%s: %w", verb, err)
}

// test runs the file's tests on the snapshot.
func (t tester) test(ctx context.Context, j stage.Job[event.Commit], out event.Tested, file *pipeline.File, images map[string]container.Image, trees step.Trees) ([]event.Step, error) {
	owner := container.Owner{App: out.App, Delivery: out.Number, Stage: event.StageTest, Attempt: j.Attempt}
	session, err := t.kit.Engine.Open(ctx, owner, container.SessionOptions{})
	if err != nil {
		return nil, err
	}
	defer session.Close(ctx)
	return t.steps.Run(ctx, step.Group{
		Owner: owner, Commit: out.Commit, Session: session, Images: images, Vars: snapshot.Vars(out.Commit),
		Steps: steps(file), FailFast: file.Defaults.FailFast, Tree: out.Snapshot.Digest, Reuse: true, Trees: trees,
	})
}

func steps(file *pipeline.File) []pipeline.Step {
	list := make([]pipeline.Step, 0, len(file.Test))
	for _, name := range file.TestOrder {
		list = append(list, *file.Test[name])
	}
	return list
}
