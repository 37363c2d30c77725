// Command tester is the tester as a process of its own.
package main

import (
	"github.com/millrace-cd/millrace/pkg/service"
	"github.com/millrace-cd/millrace/services/tester/tester"
)

func main() { service.Main("tester", tester.Serve) }
