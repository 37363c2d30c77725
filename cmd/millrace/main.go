// Command millrace is the command line of Millrace, and all of it in one process.
package main

import (
	"os"

	"github.com/millrace-cd/millrace/cmd/millrace/internal/cli"
)

// Set by the linker.
var version, commit, date string //nolint:gochecknoglobals // -ldflags -X sets nothing else

func main() { os.Exit(run()) }

func run() int {
	return cli.Main(cli.Process{
		Args:    os.Args[1:],
		Environ: os.Environ(), //nolint:forbidigo // NO_COLOR, TERM, HOME, TRACEPARENT: names that are not ours; settings come from pkg/service
		In:      os.Stdin, Out: os.Stdout, Err: os.Stderr,
	}, cli.Version{Version: version, Commit: commit, Date: date})
}
