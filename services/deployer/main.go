// Command deployer is the deployer as a process of its own.
package main

import (
	"github.com/millrace-cd/millrace/pkg/service"
	"github.com/millrace-cd/millrace/services/deployer/deployer"
)

func main() { service.Main("deployer", deployer.Serve) }
