package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/delivery"
	"github.com/millrace-cd/millrace/pkg/pipeline"
)

// pipelineFile is what people call their file.
const pipelineFile = "millrace.yaml"

// number is the delivery that the arguments name: by its number, or the newest of the
// app in the current directory, or the newest of all where there is no app.
func number(ctx context.Context, b *bus.Bus, args []string) (uint64, error) {
	if len(args) > 0 {
		n, err := strconv.ParseUint(strings.TrimPrefix(args[0], "#"), 10, 64)
		if err != nil || n == 0 {
			return 0, usage(fmt.Errorf("%q is not the number of a delivery", args[0]), "millrace ls tells the numbers")
		}
		return n, nil
	}
	name := appHere()
	list, err := delivery.List(ctx, b, name, 1)
	if err != nil {
		return 0, err
	}
	if len(list) == 0 {
		of := ""
		if name != "" {
			of = " of " + name
		}
		return 0, problem{fmt.Errorf("there is no delivery%s yet", of), NotFound, "millrace deliver starts one"}
	}
	return list[0].Number, nil
}

// appHere is the app whose pipeline file lies in the current directory or above it
// in the same repository; "" if there is none that can be read.
func appHere() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for {
		data, err := os.ReadFile(filepath.Join(dir, pipelineFile))
		if err == nil {
			file, err := pipeline.Parse(pipelineFile, data)
			if err != nil {
				return ""
			}
			return file.Name
		}
		if _, err := os.Stat(filepath.Join(dir, ".git")); err == nil || dir == filepath.Dir(dir) {
			return ""
		}
		dir = filepath.Dir(dir)
	}
}
