package releaser

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/millrace-cd/millrace/pkg/archive"
	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/pipeline"
	"github.com/millrace-cd/millrace/pkg/sbom"
	"github.com/millrace-cd/millrace/pkg/stage"
	"github.com/millrace-cd/millrace/pkg/step"
	"github.com/millrace-cd/millrace/pkg/workspace"
)

// What a scanner finds where it starts, and what it has to write there. Both are
// CycloneDX JSON, and their paths are in its environment.
const (
	scanInput  = "sbom.cdx.json"
	scanOutput = "vulnerabilities.cdx.json"

	maxScan     = 64 << 20 // bytes of what it writes
	scanTimeout = 30 * time.Minute
)

// scanning is one run of a scanner.
type scanning struct {
	*candidate

	bill     bill
	severity map[string]int // how many of each
}

// scan lets the scanner of the file's choice judge the bill of materials of the image
// that is accepted. What it finds is counted in the event.
func (c *candidate) scan(ctx context.Context, g step.Group) (results []event.Step, err error) {
	if c.release.Scan == nil {
		return nil, nil
	}
	s := &scanning{candidate: c, bill: c.bills[0], severity: map[string]int{}}
	for _, b := range c.bills {
		if strings.HasSuffix(c.image.run, "@"+b.digest) {
			s.bill = b
		}
	}
	ref, image, err := s.imageOf(ctx)
	if err != nil {
		return nil, err
	}
	document, err := s.spool()
	if err != nil {
		return nil, err
	}
	defer func() { _ = document.Remove() }()
	g.Images = map[string]container.Image{ref: image}
	g.Steps = []pipeline.Step{{
		Name: "scan", Image: ref, Shell: scanner(ref, image), Network: true, Timeout: scanTimeout,
		Env: map[string]string{"MILLRACE_SBOM": path.Join(container.Workspace, scanInput), "MILLRACE_VULNERABILITIES": path.Join(container.Workspace, scanOutput)},
	}}
	g.Tree, g.Tail, g.Done = document.Digest, tailOfBefore, s.done
	g.Commit.Path = "" // the tree has nothing but the document
	g.Trees = func(ctx context.Context, shared bool) (*workspace.Tree, error) {
		return c.kit.Trees.Tree(ctx, document.Digest, shared, func(context.Context) (io.ReadCloser, error) { return document.Open() })
	}
	results, err = c.steps.Run(ctx, g)
	c.out.Vulnerabilities = s.severity
	return results, err
}

// imageOf is the scanner: the file's, which was pinned with all others, or the
// installation's.
func (s *scanning) imageOf(ctx context.Context) (string, container.Image, error) {
	ref := cmp.Or(s.release.Scan.Image, s.scanner)
	if ref == "" {
		return "", container.Image{}, stage.Fail("release.scan names no image of a scanner, and this installation has none: add image, such as aquasec/trivy or anchore/grype")
	}
	if s.release.Scan.Image == "" { // not the commit's fault, whatever is wrong with it
		image, err := s.kit.Engine.Resolve(ctx, ref, container.PullMissing)
		return ref, image, err
	}
	images, err := s.kit.Resolve(ctx, s.out.Images, ref)
	return ref, images[ref], err
}

// scanner is the command of a scanner's image: its own, and for those that are known
// what makes them read the one document and write the other.
func scanner(ref string, image container.Image) []string {
	name := path.Base(strings.SplitN(ref, "@", 2)[0])
	name, _, _ = strings.Cut(name, ":")
	switch name {
	case "trivy":
		return append(slices.Clone(image.Entrypoint), "sbom", "--scanners", "vuln", "--format", "cyclonedx", "--output", scanOutput, scanInput)
	case "grype":
		return append(slices.Clone(image.Entrypoint), "sbom:"+scanInput, "--output", "cyclonedx-json="+scanOutput)
	}
	return slices.Concat(image.Entrypoint, image.Cmd)
}

// spool is a tree with the document.
func (s *scanning) spool() (*archive.Tar, error) {
	return archive.Spool(s.kit.TempDir(), func(w io.Writer) (archive.Stats, error) {
		files, err := archive.Pack(w, []archive.Entry{{Path: scanInput, Size: int64(len(s.bill.document)), Open: func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(s.bill.document)), nil
		}}}, archive.Artifact())
		return archive.Count(files), err
	})
}

// done reads what the scanner wrote. That there is none is an error of the scan, and
// never "nothing was found".
func (s *scanning) done(_ context.Context, _ string, v *workspace.View) (theirs, ours error) {
	data, err := readScan(v)
	if err != nil {
		return err, nil
	}
	found, err := sbom.Vulnerabilities(data)
	if err != nil {
		return fmt.Errorf("%s: %w", scanOutput, err), nil
	}
	for _, f := range found {
		s.severity[f.Severity.String()]++
	}
	failing, err := sbom.Failing(found, s.release.Scan.FailOn, s.release.Scan.Ignore)
	if err != nil || len(failing) == 0 {
		return nil, err
	}
	return s.tell(failing), nil
}

// maxTold is how many vulnerabilities a reason names.
const maxTold = 20

func (s *scanning) tell(failing []sbom.Vulnerability) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d vulnerabilities of severity %s or worse, which release.scan.ignore does not name:", len(failing), s.release.Scan.FailOn)
	for _, f := range failing[:min(len(failing), maxTold)] {
		fmt.Fprintf(&b, "\n  %s %s", f.ID, f.Severity)
		for _, c := range f.Affects[:min(len(f.Affects), 3)] {
			fmt.Fprintf(&b, ", %s %s", c.Name, c.Version)
		}
		if f.Fix != "" {
			b.WriteString(": " + f.Fix)
		}
	}
	if more := len(failing) - maxTold; more > 0 {
		fmt.Fprintf(&b, "\n  and %d more", more)
	}
	return errors.New(b.String())
}

func readScan(v *workspace.View) ([]byte, error) {
	entries, err := v.Files([]string{scanOutput}, archive.Artifact())
	if err != nil || len(entries) != 1 || entries[0].Open == nil || entries[0].Link != "" {
		return nil, errors.Join(fmt.Errorf("the scanner wrote no $MILLRACE_VULNERABILITIES (%s/%s)", container.Workspace, scanOutput), err)
	}
	r, err := entries[0].Open()
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, maxScan+1))
	if err = errors.Join(err, r.Close()); err == nil && len(data) > maxScan {
		err = fmt.Errorf("%s has more than %d bytes", scanOutput, maxScan)
	}
	return data, err
}
