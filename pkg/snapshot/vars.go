package snapshot

import (
	"strconv"
	"strings"

	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/pipeline"
)

// Vars are what a pipeline file may name in a delivery of c.
func Vars(c event.Commit) pipeline.Vars {
	branch, isBranch := strings.CutPrefix(c.Ref, "refs/heads/")
	if !isBranch {
		branch = ""
	}
	tag, isTag := strings.CutPrefix(c.Ref, "refs/tags/")
	if !isTag {
		tag = ""
	}
	return pipeline.Vars{
		Commit: c.Hash, Short: c.Short(), Branch: branch, Tag: tag,
		Version: pipeline.Version(c.Ref, c.Number, c.Short()),
		Number:  strconv.FormatUint(c.Number, 10), App: c.App, Repository: c.Repository,
	}
}
