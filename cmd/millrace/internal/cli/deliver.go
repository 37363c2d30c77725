package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace-cd/millrace/cmd/millrace/internal/repo"
	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/pipeline"
)

func (a *app) deliver() *cobra.Command {
	var repository string
	var how event.Commit
	var detach bool
	var patience time.Duration
	cmd := &cobra.Command{
		Use: "deliver [DIR]", Short: "Deliver the commit that is checked out, and follow it",
		Long: "Deliver the commit that is checked out in DIR, which holds millrace.yaml, and follow it.\nThe exit code is the delivery's: 0 if it succeeded, 1 if it failed, 3 if the system did.",
		Args: between(0, 1, "at most one directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := strings.Join(append(args, "."), "/")
			c, err := a.checkedOut(cmd.Context(), dir, repository)
			if err != nil {
				return err
			}
			c.Fresh, c.Untrusted = how.Fresh, how.Untrusted
			return a.withBus(cmd.Context(), func(ctx context.Context, b *bus.Bus) error {
				n, err := b.Publish(ctx, c, a.caller())
				if err != nil {
					return err
				}
				if detach {
					return a.published(n, c)
				}
				return a.follow(ctx, b, n, patience)
			})
		},
	}
	cmd.Flags().StringVar(&repository, "repository", "", "URL that the tester fetches from; the remote origin by default")
	howFlags(cmd, &how)
	cmd.Flags().BoolVar(&detach, "detach", false, "do not follow")
	cmd.Flags().DurationVar(&patience, "timeout", 0, "stop following after so long, with exit code 124; the delivery goes on")
	a.outputFlag(cmd)
	a.progressFlag(cmd)
	return cmd
}

// howFlags are those that say how the delivery of a commit is to run.
func howFlags(cmd *cobra.Command, c *event.Commit) {
	cmd.Flags().BoolVar(&c.Fresh, "fresh", false, "run every step, also those whose inputs passed before")
	cmd.Flags().BoolVar(&c.Untrusted, "untrusted", false, "treat it as a stranger's, such as that of a fork: no secrets, no caches")
}

// checkedOut is the commit event of what is checked out in dir.
func (a *app) checkedOut(ctx context.Context, dir, repository string) (event.Commit, error) {
	head, err := repo.Open(ctx, dir, a.screen.Environ)
	if err != nil {
		return event.Commit{}, unready(err)
	}
	if len(head.Dirty) > 0 {
		return event.Commit{}, dirty(head.Dirty)
	}
	data, err := head.File(ctx, pipelineFile)
	if err != nil {
		return event.Commit{}, unready(err)
	}
	file, err := pipeline.Parse(filepath.Join(head.Commit.Path, pipelineFile), data)
	if err != nil {
		return event.Commit{}, err
	}
	c := head.Commit
	c.App = file.Name
	if c.Repository, err = a.source(head, repository); err != nil {
		return event.Commit{}, err
	}
	if err := c.Check(); err != nil {
		return event.Commit{}, usage(err, "")
	}
	return c, nil
}

// source is where the tester fetches the commit from.
func (a *app) source(head repo.Head, flag string) (string, error) {
	switch {
	case flag != "":
		return flag, nil
	case head.Origin != "" && head.Pushed:
		return head.Origin, nil
	case a.local():
		return head.FileURL(), nil
	case head.Origin != "":
		a.say("warning: git knows of no remote branch that has %s: if it is not pushed, the tester will not find it", head.Commit.Short())
		return head.Origin, nil
	}
	return "", usage(errors.New("the repository has no remote called origin, so the tester does not know where to fetch from"), "name one: millrace deliver --repository URL")
}

// unready says what to do about a directory that cannot be delivered.
func unready(err error) error {
	hints := map[error]string{
		repo.ErrNoGit:         "install git, such as with: apt-get install git",
		repo.ErrNotRepository: "millrace delivers commits: git init && git add . && git commit",
		repo.ErrNoCommits:     "millrace delivers commits: git add . && git commit",
		repo.ErrNoFile:        "the directory of an app holds a " + pipelineFile + ", and it is committed",
	}
	for kind, hint := range hints {
		if errors.Is(err, kind) {
			return usage(err, hint)
		}
	}
	return err
}

func dirty(files []string) error {
	const most = 5
	shown := "\n  " + strings.Join(files[:min(len(files), most)], "\n  ")
	if len(files) > most {
		shown += fmt.Sprintf("\n  and %d more", len(files)-most)
	}
	return usage(fmt.Errorf("what is here is not what is committed:%s", shown),
		"millrace delivers commits: git commit these, or put them aside with git stash --include-untracked")
}
