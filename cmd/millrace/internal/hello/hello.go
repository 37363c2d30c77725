// Package hello holds examples/hello, so that a binary alone can deliver it.
package hello

import (
	_ "embed"
	"io/fs"

	"golang.org/x/tools/txtar"
)

//go:embed hello.txtar
var archive []byte

// Files are those of examples/hello.
func Files() (fs.FS, error) { return txtar.FS(txtar.Parse(archive)) }
