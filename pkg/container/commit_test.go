package container

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
)

// What a step changed of its image is an image while it is looked at, and gone afterwards.
func TestCommit(t *testing.T) {
	t.Parallel()
	e := connect(t)
	s := open(t, e, Outside)
	var made string
	_, exit := run(t, s, Step{Run: []string{"echo made >/made; echo here >/workspace/here"}, Workspace: overlay(t), Commit: func(_ context.Context, image string) error {
		made = image
		other := open(t, e, Outside)
		out, _ := run(t, other, Step{Name: "look", Image: image, Run: []string{"cat /made; ls /workspace"}})
		if out != "made\n" {
			t.Errorf("the image has %q, want what was changed and no mounts", out)
		}
		other.Close(t.Context())
		return other.Wait(t.Context())
	}})
	if exit.Code != 0 || !strings.HasPrefix(made, "sha256:") {
		t.Fatalf("exit %+v, image %q", exit, made)
	}
	if has, err := e.HasImage(t.Context(), made); has || err != nil {
		t.Errorf("the image is there still: %t, %v", has, err)
	}
	run(t, s, Step{Run: []string{"exit 3"}, Commit: func(context.Context, string) error { t.Error("a step that failed was looked at"); return nil }})
	bad := errors.New("disk full")
	_, err := s.Step(t.Context(), shell(Step{Run: []string{"true"}, Commit: func(context.Context, string) error { return bad }})).Run(t.Context(), &bytes.Buffer{})
	if !errors.Is(err, bad) {
		t.Errorf("got %v, want %v", err, bad)
	}
}

// An image that a killed process left is removed by the next one.
func TestReapImages(t *testing.T) {
	t.Parallel()
	gone := connect(t)
	s := open(t, gone, Outside)
	next, err := Connect(t.Context(), Config{Instance: gone.cfg.Instance, Warm: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = next.Close() }()
	run(t, s, Step{Run: []string{"true"}, Commit: func(ctx context.Context, image string) error {
		for _, live := range []bool{true, false} {
			if _, err := next.Reap(ctx, func(string) bool { return live }); err != nil {
				t.Error(err)
			}
			if has, err := next.HasImage(ctx, image); has != live || err != nil {
				t.Errorf("the process lives: %t; the image is there: %t, %v", live, has, err)
			}
		}
		return nil
	}})
}
