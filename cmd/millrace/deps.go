package main

import (
	_ "github.com/caarlos0/env/v11"
	_ "github.com/docker/docker/client"
	_ "github.com/google/go-containerregistry/pkg/v1/remote"
	_ "github.com/millrace-cd/millrace/pkg"
	_ "go.opentelemetry.io/contrib/exporters/autoexport"
	_ "go.opentelemetry.io/otel/sdk/trace"
	_ "golang.org/x/sync/errgroup"
)
