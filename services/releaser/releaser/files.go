package releaser

import (
	"context"
	"errors"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/millrace-cd/millrace/pkg/archive"
	"github.com/millrace-cd/millrace/pkg/image"
	"github.com/millrace-cd/millrace/pkg/pipeline"
	"github.com/millrace-cd/millrace/pkg/stage"
	"github.com/millrace-cd/millrace/pkg/workspace"
)

// files is the layer of the artifact's files; nil where the file names none.
func (m *making) files(ctx context.Context, t target, _ v1.Image) (*image.Layer, error) {
	if len(m.release.Files) == 0 {
		return nil, nil
	}
	view, err := m.artifact(ctx, t, "files")
	if err != nil {
		return nil, err
	}
	defer func() { _ = view.Remove() }()
	layer, err := m.placed(view)
	if errors.Is(err, archive.ErrRefused) {
		return nil, stage.Fail("release.files: %w", err)
	}
	return layer, err
}

func (m *making) placed(artifact *workspace.View) (*image.Layer, error) {
	entries, err := place(artifact, m.release.Files)
	if err != nil {
		return nil, err
	}
	return image.Compress(m.kit.TempDir(), func(w io.Writer) error {
		_, err := archive.Pack(w, entries, archive.Artifact())
		return err
	})
}

// place maps files of the artifact to paths in the image.
func place(artifact *workspace.View, files []pipeline.FileMap) ([]archive.Entry, error) {
	placed := map[string]archive.Entry{}
	for _, m := range files {
		entries, err := artifact.Files([]string{m.From}, archive.Artifact())
		if err != nil {
			return nil, err
		}
		single := len(entries) == 1 && entries[0].Path == m.From && !strings.HasSuffix(m.To, "/")
		for _, e := range entries {
			to := m.To
			if !single {
				to = path.Join(m.To, strings.TrimPrefix(e.Path, fixed(m.From)))
			}
			e.Path = strings.TrimPrefix(path.Clean(to), "/")
			placed[e.Path] = e
		}
	}
	return slices.SortedFunc(maps.Values(placed), func(a, b archive.Entry) int { return strings.Compare(a.Path, b.Path) }), nil
}

// fixed is the part of a glob before its first wildcard, up to a slash: what is
// below it keeps its path.
func fixed(glob string) string {
	if i := strings.IndexAny(glob, "*?[{"); i >= 0 {
		glob = glob[:i]
	}
	return glob[:strings.LastIndex(glob, "/")+1]
}
