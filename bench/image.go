package main

import (
	"context"
	"errors"
	"os"

	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/standin"
)

// haveImage makes sure that the engine has the image that both sides run in: it has it,
// or pulls it, or it is made of what this host has.
func haveImage(ctx context.Context) (err error) {
	e, err := container.Connect(ctx, container.Config{Instance: "bench", Warm: -1})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	_, err = e.Resolve(ctx, image, container.PullMissing)
	if err == nil {
		return nil
	}
	_, err = standin.Make(ctx, e, image, os.Stderr)
	return err
}
