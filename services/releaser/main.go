// Command releaser is the releaser as a process of its own.
package main

import (
	"github.com/millrace-cd/millrace/pkg/service"
	"github.com/millrace-cd/millrace/services/releaser/releaser"
)

func main() { service.Main("releaser", releaser.Serve) }
