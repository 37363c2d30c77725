package cli

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/millrace-cd/millrace/cmd/millrace/internal/hello"
	"github.com/millrace-cd/millrace/cmd/millrace/internal/render"
	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/pipeline"
	"github.com/millrace-cd/millrace/pkg/standin"
)

// pullPatience is how long an image may take to come from its registry.
const pullPatience = 5 * time.Minute

// images gets those that the example names: from the engine, else from their
// registries, else made here.
func (d *demo) images(ctx context.Context) error {
	files, err := hello.Files()
	if err != nil {
		return err
	}
	data, err := fs.ReadFile(files, pipelineFile)
	if err != nil {
		return err
	}
	file, err := pipeline.Parse(pipelineFile, data)
	if err != nil {
		return err
	}
	var got []string
	for _, ref := range file.ImageRefs() {
		how, err := d.image(ctx, ref)
		if err != nil {
			return err
		}
		got = append(got, ref+" "+render.Dim("("+how+")"))
	}
	d.done("images", strings.Join(got, ", "))
	return nil
}

// image makes sure that the engine has ref, and says how it got it.
func (d *demo) image(ctx context.Context, ref string) (how string, err error) {
	if has, err := d.engine.HasImage(ctx, ref); err != nil || has {
		return "was here", err
	}
	d.say("%s", render.Dim("    fetching "+ref+" …"))
	pulling, cancel := context.WithTimeout(ctx, pullPatience)
	defer cancel()
	_, pullErr := d.engine.Resolve(pulling, ref, container.PullMissing)
	if pullErr == nil {
		return "pulled", nil
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if !standin.Known(ref) {
		return "", pullErr
	}
	made, err := standin.Make(ctx, d.engine, ref, dimmed{d.app})
	if err != nil {
		return "", fmt.Errorf("%w\nand it could not be pulled: %w", err, pullErr)
	}
	if made {
		d.later(func(ctx context.Context) error { return standin.Remove(ctx, d.engine, ref) })
	}
	return "a stand-in made of what this host has: its registry cannot be reached", nil
}

// dimmed writes lines that one may overlook.
type dimmed struct{ *app }

// Write implements io.Writer.
func (d dimmed) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		d.say("%s", render.Dim("    "+strings.TrimSpace(line)))
	}
	return len(p), nil
}
