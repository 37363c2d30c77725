package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// source looks for the secret at path (app, environment, name; the first two may be
// left out). Place is where it looked, for people; "" where it could not. The value is
// nil where there is none.
type source func(path []string) (value []byte, place string, err error)

func files(dir string) source {
	return func(path []string) ([]byte, string, error) {
		name := filepath.Join(append([]string{dir}, path...)...)
		value, err := readFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, "file " + name, nil
		}
		return value, "file " + name, err
	}
}

// readFile follows links, as the mounts of orchestrators need it. It never opens what
// could block it.
func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	value, err := io.ReadAll(io.LimitReader(f, MaxLength+3)) // a newline, and one to see that there is more
	if err != nil {
		return nil, err
	}
	value = bytes.TrimSuffix(value, []byte("\n"))
	return bytes.TrimSuffix(value, []byte("\r")), nil
}

func variables(lookup func(string) (string, bool)) source {
	return func(path []string) ([]byte, string, error) {
		for _, part := range path {
			if strings.Contains(variable(part), "__") {
				return nil, "", nil
			}
		}
		name := Prefix + variable(strings.Join(path, "__"))
		value, ok := lookup(name)
		if !ok {
			return nil, "variable " + name, nil
		}
		return append([]byte{}, value...), "variable " + name, nil
	}
}

func variable(s string) string { return strings.ToUpper(strings.ReplaceAll(s, "-", "_")) }
