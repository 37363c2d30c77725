// Package standin makes images out of what is installed on this host, for people
// and tests that cannot reach a registry.
//
// A stand-in answers to the name of a well-known image and does enough of what
// that one does: a shell with the usual commands (busybox, alpine), or the same
// with Go (golang), Python and its standard library (python), a C compiler with make
// (gcc) or a PostgreSQL server (postgres), each in the version that this host has,
// whatever the tag says. It carries the label millrace.standin=true, so that nobody
// takes it for the real one, and it is the same bytes each time it is made on the
// same host.
package standin

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Engine is the part of container.Engine that is needed here.
type Engine interface {
	HasImage(ctx context.Context, ref string) (bool, error)
	Import(ctx context.Context, tag string, tar io.Reader, changes []string) error
	Images(ctx context.Context, label string) ([]string, error)
	RemoveImage(ctx context.Context, ref string) error
}

const label = "millrace.standin=true"

// kind is what an image has to hold.
type kind int

const (
	unknown kind = iota
	shell
	golang
	python
	compiler
	postgres
)

// kindOf reads a reference such as docker.io/library/golang:1.26. One with a digest
// names bytes that nobody can stand in for.
func kindOf(ref string) kind {
	name := strings.TrimPrefix(strings.TrimPrefix(ref, "docker.io/"), "library/")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	switch name {
	case "busybox", "alpine", "millrace-test/shell":
		return shell
	case "golang", "millrace-test/golang":
		return golang
	case "python":
		return python
	case "gcc":
		return compiler
	case "postgres":
		return postgres
	}
	return unknown
}

// Known tells whether [Make] can make ref.
func Known(ref string) bool { return kindOf(ref) != unknown }

// Make makes a stand-in for ref, unless the engine has an image of that name, and
// tells whether it did. What it does on the host, which may be an installation by
// apt-get, is said on progress.
func Make(ctx context.Context, engine Engine, ref string, progress io.Writer) (bool, error) {
	k := kindOf(ref)
	if k == unknown {
		return false, fmt.Errorf("stand-in for %s: only known for busybox, alpine, golang, python, gcc and postgres", ref)
	}
	if has, err := engine.HasImage(ctx, ref); has || err != nil {
		return false, err
	}
	img, err := gather(ctx, k, progress)
	if err != nil {
		return false, fmt.Errorf("stand-in for %s: %w", ref, err)
	}
	say(progress, "making a stand-in for %s from %s", ref, img.from)
	if err := send(ctx, engine, ref, img.tree, img.dockerfile()); err != nil {
		return false, fmt.Errorf("stand-in for %s: %w", ref, err)
	}
	return true, nil
}

// send imports root while it is being packed.
func send(ctx context.Context, engine Engine, ref string, root *tree, changes []string) error {
	read, write := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := root.pack(write)
		write.CloseWithError(err)
		packed <- err
	}()
	err := engine.Import(ctx, ref, read, changes)
	_ = read.Close() // ends the packing if the engine did not want all of it
	if failed := <-packed; failed != nil && err == nil {
		return failed
	}
	return err
}

// List names the stand-ins that the engine has.
func List(ctx context.Context, engine Engine) ([]string, error) { return engine.Images(ctx, label) }

// Remove removes a stand-in, and refuses to remove anything else.
func Remove(ctx context.Context, engine Engine, ref string) error {
	made, err := List(ctx, engine)
	if err != nil {
		return err
	}
	if !slices.Contains(made, ref) {
		return fmt.Errorf("remove stand-in %s: there is none", ref)
	}
	return engine.RemoveImage(ctx, ref)
}

func say(w io.Writer, format string, args ...any) {
	if w != nil {
		_, _ = fmt.Fprintf(w, format+"\n", args...) // nobody to tell
	}
}
