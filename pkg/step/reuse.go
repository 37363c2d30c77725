package step

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/millrace-cd/millrace/pkg/archive"
	"github.com/millrace-cd/millrace/pkg/custody"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/pipeline"
	"github.com/millrace-cd/millrace/pkg/stage"
)

// inputs are all that a step's verdict may depend on. What is not here must not be
// visible to a step, or may not matter: the delivery's number and commit are, in its
// environment, but a test whose verdict depends on them is none.
type inputs struct {
	Version  int // of this very list
	Image    string
	Run      []string
	Shell    []string
	Env      map[string]string
	Secrets  string // a digest of names and values
	Services []serviceInputs
	User     string
	Workdir  string
	Network  bool
	Strict   bool
	Matrix   map[string]string
	Reports  pipeline.Reports
	Files    string // a digest of what the step declares to read, by default the whole tree
}

type serviceInputs struct {
	Name, Image string
	Env         map[string]string
	Secrets     string
	Command     []string
	Tmpfs       []string
}

// verdictKey is the name under which the step's verdict is kept.
func (w *work) verdictKey(ctx context.Context, o *one) (string, error) {
	s := o.spec
	in := inputs{
		Version: 1, Image: w.Images[s.Image].Pinned, Run: s.Run, Shell: s.Shell, Env: s.Env, Secrets: w.digestOf(o.secrets),
		User: s.User, Workdir: w.Commit.Path + "\n" + s.Workdir, Network: s.Network, Strict: s.Sandbox == "strict", Matrix: o.vars.Matrix, Reports: s.Reports,
	}
	for _, name := range s.ServiceOrder {
		svc := s.Services[name]
		secrets, err := w.secrets(svc.Secrets)
		if err != nil {
			return "", fmt.Errorf("step %s: service %s: %w", o.name, name, err)
		}
		in.Services = append(in.Services, serviceInputs{name, w.Images[svc.Image].Pinned, svc.Env, w.digestOf(secrets), svc.Command, svc.Tmpfs})
	}
	var err error
	if in.Files, err = w.filesOf(ctx, o); err != nil {
		return "", err
	}
	data, err := json.Marshal(in)
	if err != nil {
		return "", fmt.Errorf("key of step %s: %w", o.name, err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

func (w *work) digestOf(secrets map[string]string) string {
	if len(secrets) == 0 {
		return ""
	}
	return w.Secrets.Digest(secrets)
}

// filesOf is a digest of the step's declared inputs.
func (w *work) filesOf(ctx context.Context, o *one) (string, error) {
	if len(o.spec.Paths) == 0 {
		return w.Tree, nil
	}
	digest, err := w.digestFiles(ctx, o.spec.Paths)
	if err != nil {
		return "", fmt.Errorf("step %s: paths: %w", o.name, err)
	}
	return digest, nil
}

// digestFiles is a digest of the names, modes and contents of files of the tree.
func (w *work) digestFiles(ctx context.Context, globs []string) (string, error) {
	tree, err := w.Trees(ctx, false)
	if err != nil {
		return "", err
	}
	view, err := tree.View(w.viewName("digest"))
	if err != nil {
		return "", err
	}
	defer func() { _ = view.Remove() }()
	entries, err := view.Files(globs, archive.Source())
	if errors.Is(err, archive.ErrRefused) {
		return "", stage.Fail("%w", err)
	}
	if err != nil {
		return "", err
	}
	files, err := archive.Pack(io.Discard, entries, archive.Source())
	if err != nil {
		return "", err
	}
	list, err := json.Marshal(files)
	sum := sha256.Sum256(list)
	return hex.EncodeToString(sum[:]), err
}

// reuse takes the verdict of an earlier delivery, if there is one.
func (w *work) reuse(ctx context.Context, o *one) bool {
	if w.Commit.Fresh || len(o.spec.Quarantine) > 0 {
		return false
	}
	data, err := w.Bus.Verdict(ctx, w.Owner.App, o.key)
	if err != nil || data == nil {
		return false // then it runs
	}
	v, err := w.Verdicts.VerifyVerdict(w.Owner.App, o.key, data)
	if err != nil || v.From.Number == w.Owner.Delivery {
		return false
	}
	name, optional := o.result.Name, o.result.Optional
	o.result = v.Step
	o.result.Name, o.result.Optional, o.result.Reused = name, optional, &v.From
	o.result.Seconds = 0
	return true
}

// keep remembers a success for later deliveries. What may be chance, or comes from
// somebody we do not trust, is not kept.
func (w *work) keep(ctx context.Context, o *one) error {
	if o.key == "" || o.result.Flaky || w.Commit.Untrusted || len(o.spec.Quarantine) > 0 || o.result.Tests != nil && o.result.Tests.Quarantined > 0 {
		return nil
	}
	kept := o.result
	if kept.Tests != nil {
		tests := *kept.Tests
		tests.Failures = slices.Clip(tests.Failures[:0])
		kept.Tests = &tests
	}
	from := event.Verdict{Number: w.Owner.Delivery, Commit: w.Commit.Hash}
	data, err := w.Verdicts.SignVerdict(w.Owner.App, o.key, custody.Verdict{From: from, Step: kept})
	if err != nil {
		return fmt.Errorf("keep the verdict of step %s: %w", o.name, err)
	}
	return w.Bus.SetVerdict(ctx, w.Owner.App, o.key, data)
}
