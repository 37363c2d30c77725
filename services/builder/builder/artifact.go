package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/millrace-cd/millrace/pkg/archive"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/sbom"
	"github.com/millrace-cd/millrace/pkg/stage"
	"github.com/millrace-cd/millrace/pkg/store"
	"github.com/millrace-cd/millrace/pkg/workspace"
)

// pack spools the artifact into a file of dir.
func (p *product) pack(dir string, v *workspace.View, globs []string) error {
	entries, err := v.Files(globs, archive.Artifact())
	if err != nil {
		return fmt.Errorf("artifacts: %w", err)
	}
	p.tar, err = archive.Spool(dir, func(w io.Writer) (archive.Stats, error) {
		p.files, err = archive.Pack(w, entries, archive.Artifact())
		return archive.Count(p.files), err
	})
	if err != nil {
		return fmt.Errorf("artifacts: %w", err)
	}
	return nil
}

// maxDiffer is how many differing files a reason names.
const maxDiffer = 20

// reproduced compares what was made twice.
func reproduced(products []*product) error {
	for i, p := range products {
		if !p.again || p.tar.Digest == products[i-1].tar.Digest {
			continue
		}
		names := differ(products[i-1].files, p.files)
		more := ""
		if len(names) > maxDiffer {
			more = fmt.Sprintf("\n  and %d more", len(names)-maxDiffer)
			names = names[:maxDiffer]
		}
		return stage.Fail("%s is not reproducible: made twice from the same snapshot, these files differ:\n  %s%s",
			products[i-1].name, strings.Join(names, "\n  "), more)
	}
	return nil
}

// differ lists the paths that are not the same in both.
func differ(a, b []archive.File) (paths []string) {
	byPath := map[string]archive.File{}
	for _, f := range a {
		byPath[f.Path] = f
	}
	for _, f := range b {
		if byPath[f.Path] != f {
			paths = append(paths, f.Path)
		}
		delete(byPath, f.Path)
	}
	for p := range byPath {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	return paths
}

// store keeps the artifacts, with a list of their files that can be read without them.
func (b builder) store(ctx context.Context, products []*product, out *event.Built) error {
	ctx, span := b.kit.Tracer.Start(ctx, "store artifact")
	defer span.End()
	for _, p := range products {
		if p.again {
			continue
		}
		list, err := json.Marshal(p.files)
		if err != nil {
			return fmt.Errorf("list artifact: %w", err)
		}
		blob, err := b.kit.Store.Put(ctx, store.Upload{App: out.App, Kind: store.Artifact, Tar: p.tar, Config: list})
		if err != nil {
			return err
		}
		if blob.SBOM, err = b.bill(ctx, p, out.Commit, blob); err != nil {
			return err
		}
		if out.Artifact.Digest == "" || p.platform == "linux/"+b.kit.Engine.Info().Architecture {
			out.Artifact = blob // what the release is made of: it has to run here
		}
		if p.platform != "" {
			if out.Platforms == nil {
				out.Platforms = map[string]event.Blob{}
			}
			out.Platforms[p.platform] = blob
		}
	}
	return nil
}

// bill attaches to an artifact what software is in it, and gives the digest of that.
func (b builder) bill(ctx context.Context, p *product, c event.Commit, blob event.Blob) (string, error) {
	ctx, span := b.kit.Tracer.Start(ctx, "write SBOM")
	defer span.End()
	found, err := b.kit.Shelf.Tar(ctx, p.tar.Digest, p.tar.Open)
	if err != nil {
		return "", err
	}
	document, err := found.Document(sbom.Subject{Kind: sbom.Artifact, Name: c.App, Version: c.Hash, Digest: blob.Digest})
	if err != nil {
		return "", err
	}
	return b.kit.Custody.AttachSBOM(ctx, document, blob.Repository+"@"+blob.Digest)
}

// discard removes the spooled files.
func discard(products []*product) error {
	var errs []error
	for _, p := range products {
		if p.tar != nil {
			errs = append(errs, p.tar.Remove())
		}
	}
	return errors.Join(errs...)
}
