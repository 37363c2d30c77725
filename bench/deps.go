package main

import (
	_ "github.com/millrace-cd/millrace/pkg"
	_ "github.com/nats-io/nats.go/jetstream"
)

func main() {}
