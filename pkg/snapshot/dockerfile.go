package snapshot

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/millrace-cd/millrace/pkg/archive"
	"github.com/millrace-cd/millrace/pkg/dockerfile"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/pipeline"
	"github.com/millrace-cd/millrace/pkg/stage"
	"github.com/millrace-cd/millrace/pkg/workspace"
)

// Dockerfile reads a release's Dockerfile, for engines of an architecture; variables of d
// are filled in. Its path is relative to the pipeline file's directory. What is wrong with
// it is the commit's fault.
func Dockerfile(tree *workspace.Tree, c event.Commit, d pipeline.Dockerfile, architecture string) (*dockerfile.Build, error) {
	name := path.Join(c.Path, d.File)
	text, err := tree.ReadFile(name, dockerfile.MaxBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, stage.Fail("release.dockerfile.file: there is no %s in commit %s", name, c.Short())
	}
	if errors.Is(err, archive.ErrRefused) {
		return nil, stage.Fail("release.dockerfile.file: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("read Dockerfile: %w", err)
	}
	file, err := dockerfile.Parse(name, text)
	if err != nil {
		return nil, stage.Fail("%w", err)
	}
	build, err := file.Build(dockerfile.Options{Args: d.Args, Target: d.Target, Platform: "linux/" + architecture, Network: d.Network})
	if err != nil {
		return nil, stage.Fail("%w", err)
	}
	return build, nil
}
