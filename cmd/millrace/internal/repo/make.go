package repo

import (
	"context"
	"io/fs"
	"os"
	"slices"
)

// Make writes files into dir and commits them, as a repository with the branch main.
func Make(ctx context.Context, dir string, files fs.FS, message string, environ []string) error {
	if err := os.CopyFS(dir, files); err != nil {
		return err
	}
	g := git{
		dir:     dir,
		environ: append(slices.Clone(environ), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull),
		config:  []string{"-c", "user.name=Millrace", "-c", "user.email=demo@millrace.invalid"},
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main"},
		{"add", "--all"},
		{"commit", "--quiet", "--no-verify", "--message=" + message},
	} {
		if _, err := g.output(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}
