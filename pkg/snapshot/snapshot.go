// Package snapshot opens what was tested: the one tree that all later stages work
// from. It is fetched by digest from the registry and never from git, so nobody can
// build, release or deploy anything else.
package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/pipeline"
	"github.com/millrace-cd/millrace/pkg/stage"
	"github.com/millrace-cd/millrace/pkg/store"
	"github.com/millrace-cd/millrace/pkg/workspace"
)

// FileName is the pipeline file's, at the root or in the directory that the commit
// event's path names.
const FileName = "millrace.yaml"

// Source is where snapshots are and where their trees are kept.
type Source struct {
	Store *store.Store
	Trees *workspace.Cache
}

// Tree is the tree of a blob; shared ones may be written to by any user, in the
// views of it.
func (s Source) Tree(ctx context.Context, what string, b event.Blob, shared bool) (*workspace.Tree, error) {
	if b.Digest == "" {
		return nil, stage.Refuse("the event names no %s", what)
	}
	tree, err := s.Trees.Tree(ctx, b.Digest, shared, func(ctx context.Context) (io.ReadCloser, error) { return s.Store.Get(ctx, b) })
	if errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrMissing) {
		return nil, stage.Refuse("the chain of custody is broken at the %s: %w", what, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", what, err)
	}
	return tree, nil
}

// Open is the tree that was tested, and its pipeline file.
func (s Source) Open(ctx context.Context, t event.Tested) (*workspace.Tree, *pipeline.File, error) {
	tree, err := s.Tree(ctx, "snapshot", t.Snapshot, false)
	if err != nil {
		return nil, nil, err
	}
	file, err := Pipeline(tree, t.Commit)
	return tree, file, err
}

// Pipeline reads the file that says how c is delivered. What is wrong with it is
// the commit's fault.
func Pipeline(tree *workspace.Tree, c event.Commit) (*pipeline.File, error) {
	name := path.Join(c.Path, FileName)
	data, err := tree.ReadFile(name, pipeline.MaxBytes+1)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, stage.Fail("there is no %s in commit %s: it says how the app is tested, built, released and deployed", name, c.Short())
	}
	if err != nil {
		return nil, stage.Fail("read %s: %w", name, err)
	}
	file, err := pipeline.Parse(name, data)
	if err != nil {
		return nil, stage.Fail("%w", err)
	}
	if file.Name != c.App {
		return nil, stage.Fail("%s is of app %q, but the commit event is of %q", name, file.Name, c.App)
	}
	return file, nil
}
