package main

import (
	_ "charm.land/bubbletea/v2"
	_ "charm.land/lipgloss/v2"
	_ "github.com/caarlos0/env/v11"
	_ "github.com/docker/docker/client"
	_ "github.com/google/go-containerregistry/pkg/v1/remote"
	_ "github.com/lmittmann/tint"
	_ "github.com/millrace-cd/millrace/pkg"
	_ "github.com/nats-io/nats-server/v2/server"
	_ "github.com/nats-io/nats.go/jetstream"
	_ "github.com/olareg/olareg"
	_ "github.com/rogpeppe/go-internal/testscript"
	_ "github.com/spf13/cobra"
	_ "go.opentelemetry.io/contrib/exporters/autoexport"
	_ "go.opentelemetry.io/otel/sdk/trace"
	_ "golang.org/x/sync/errgroup"
	_ "golang.org/x/term"
)

