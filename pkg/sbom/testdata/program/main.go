// Command program is a Go program with modules in it, for a test to read.
package main

import (
	"io"
	"os"

	"github.com/package-url/packageurl-go"
)

func main() {
	_, _ = io.WriteString(os.Stdout, packageurl.TypeGolang)
}
