// Command builder is the builder as a process of its own.
package main

import (
	"github.com/millrace-cd/millrace/pkg/service"
	"github.com/millrace-cd/millrace/services/builder/builder"
)

func main() { service.Main("builder", builder.Serve) }
