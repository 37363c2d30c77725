package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millrace-cd/millrace/cmd/millrace/internal/render"
	"github.com/millrace-cd/millrace/pkg/pipeline"
)

func (a *app) check() *cobra.Command {
	cmd := &cobra.Command{
		Use: "check [FILE]", Short: "Say all that is wrong with a millrace.yaml",
		Args: between(0, 1, "at most one file"),
		RunE: func(_ *cobra.Command, args []string) error {
			name := append(args, pipelineFile)[0]
			if info, err := os.Stat(name); err == nil && info.IsDir() {
				name = strings.TrimSuffix(name, "/") + "/" + pipelineFile
			}
			data, err := os.ReadFile(name)
			if errors.Is(err, fs.ErrNotExist) {
				return problem{err, NotFound, "the directory of an app holds a " + pipelineFile}
			}
			if err != nil {
				return err
			}
			return a.checkFile(name, data)
		},
	}
	a.outputFlag(cmd)
	return cmd
}

// verdict is what programs get.
type verdict struct {
	File     string            `json:"file"`
	OK       bool              `json:"ok"`
	Name     string            `json:"name,omitempty"`
	Problems pipeline.Problems `json:"problems,omitempty"`
}

func (a *app) checkFile(name string, data []byte) error {
	file, err := pipeline.Parse(name, data)
	v := verdict{File: name, OK: err == nil}
	if err == nil {
		v.Name = file.Name
	}
	found := errors.As(err, &v.Problems)
	switch {
	case err != nil && !found:
		return err
	case a.output == "json":
		if err := a.json(v); err != nil {
			return err
		}
	case found:
		_, _ = fmt.Fprintln(a.screen.Err, v.Problems.Error())
	case a.output == "name":
		return a.print(v.Name)
	default:
		return a.print(fmt.Sprintf("ok: %s: %s", name, summary(file)))
	}
	if found {
		return quiet(Usage)
	}
	return nil
}

// summary is a file in one line.
func summary(f *pipeline.File) string {
	parts := []string{f.Name, render.Count(len(f.Test), "test step"), render.Count(len(f.Release.Acceptance), "acceptance step")}
	if envs := f.Environments(); len(envs) > 0 {
		return strings.Join(append(parts, "deploys to "+strings.Join(envs, ", ")), ", ")
	}
	return strings.Join(append(parts, "deploys nowhere"), ", ")
}
