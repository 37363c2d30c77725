package test

import (
	_ "github.com/google/go-containerregistry/pkg/v1/remote"
	_ "github.com/millrace-cd/millrace/pkg"
	_ "github.com/nats-io/nats.go/jetstream"
	_ "github.com/testcontainers/testcontainers-go"
	_ "github.com/testcontainers/testcontainers-go/network"
	_ "github.com/testcontainers/testcontainers-go/wait"
)
