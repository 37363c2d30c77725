package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/millrace-cd/millrace/cmd/millrace/internal/fetch"
	"github.com/millrace-cd/millrace/cmd/millrace/internal/render"
	"github.com/millrace-cd/millrace/pkg/archive"
	"github.com/millrace-cd/millrace/pkg/delivery"
	"github.com/millrace-cd/millrace/pkg/store"
)

// stdout is what stands for standard output.
const stdout = "-"

// get puts files where the call wants them.
func (a *app) get(ctx context.Context, s *store.Store, what stored, c artifactCall) error {
	want, to, err := c.where(what)
	if err != nil {
		return err
	}
	if to == stdout {
		return a.printFile(ctx, s, what, want)
	}
	stats, err := what.into(ctx, s, to, want, c.force)
	if err != nil {
		return err
	}
	switch a.output {
	case "json":
		return a.json(struct {
			stored
			To    string `json:"to"`
			Files int    `json:"files"`
			Bytes int64  `json:"bytes"`
		}{what, to, stats.Files, stats.Bytes})
	case "name":
		return a.print(to)
	}
	a.say("%s %s in %s", render.Done(), render.Amount(stats), to)
	return nil
}

// where sorts out which of the arguments say what to get and which where to put it.
func (c artifactCall) where(what stored) (want fetch.Paths, to string, err error) {
	args, to := c.paths, c.to
	if n := len(args); n > 0 && args[n-1] == stdout && to == "" {
		args, to = args[:n-1], stdout
	}
	want = fetch.Select(args)
	missing := want.Missing(what.files)
	if to == "" && len(args) == 1 && len(missing) == 1 {
		return nil, args[0], nil
	}
	if len(missing) > 0 {
		return nil, "", problem{fmt.Errorf("%s has no %s", what.title(), delivery.Text(strings.Join(missing, ", "))), NotFound, fmt.Sprintf("millrace artifact %d ls lists the files", what.Delivery)}
	}
	if to == stdout && !oneFile(want, what.files) {
		return nil, "", usage(errors.New("standard output takes one file"), "name it: "+fmt.Sprintf("millrace artifact %d get PATH -", what.Delivery))
	}
	if to == "" {
		to = "."
	}
	return want, to, nil
}

// oneFile tells whether want is the name of a file, and that no link.
func oneFile(want fetch.Paths, files []archive.File) bool {
	for _, f := range files {
		if len(want) == 1 && f.Path == want[0] {
			return f.Link == ""
		}
	}
	return false
}

// into fetches files into a directory.
func (s stored) into(ctx context.Context, from *store.Store, dir string, want fetch.Paths, replace bool) (archive.Stats, error) {
	r, err := from.Get(ctx, s.Blob)
	if err != nil {
		return archive.Stats{}, unreachable(err)
	}
	defer func() { _ = r.Close() }()
	stats, err := fetch.Into(dir, r, want, replace)
	switch {
	case errors.As(err, new(fetch.Exists)):
		return stats, usage(fmt.Errorf("%s: %w", dir, err), "--force replaces what is there; --to DIR puts the files elsewhere")
	case errors.Is(err, store.ErrCorrupt):
		return stats, unreachable(err)
	}
	return stats, err
}

// printFile writes one file to standard output, once all of it is there.
func (a *app) printFile(ctx context.Context, s *store.Store, what stored, want fetch.Paths) (err error) {
	dir, err := os.MkdirTemp("", "millrace-artifact-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if _, err := what.into(ctx, s, dir, want, false); err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(dir, filepath.FromSlash(want[0])))
	if err != nil {
		return err
	}
	_, err = io.Copy(a.screen.Bytes(), f)
	return errors.Join(err, f.Close())
}
