package report

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
)

// maxCoverage is the size of the largest report of coverage, in bytes.
const maxCoverage = 256 << 20

// Coverage reads how much of the code was covered: a cover profile of Go (counts
// statements), lcov or Cobertura's XML (count lines), told apart by their content. What
// a report has several times counts once, as covered where it was covered any time.
// A report that measures nothing is an error, so that no gate passes by it.
//
// Total is 0 where a report tells the share alone. Name is for the error.
func Coverage(name string, r io.Reader) (percent float64, covered, total int64, err error) {
	in := bufio.NewReaderSize(limit(r, maxCoverage), 4<<10)
	percent, covered, total, err = coverage(in)
	if err != nil {
		return 0, 0, 0, fmt.Errorf("read coverage %s: %w", name, err)
	}
	return percent, covered, total, nil
}

func coverage(in *bufio.Reader) (percent float64, covered, total int64, err error) {
	text, err := begin(in)
	if err != nil {
		return 0, 0, 0, err
	}
	switch {
	case bytes.HasPrefix(text, []byte("<")):
		return cobertura(in, maxLines)
	case bytes.HasPrefix(text, []byte("mode: ")):
		covered, total, err = goProfile(in, maxLines)
	case bytes.HasPrefix(text, []byte("TN:")), bytes.HasPrefix(text, []byte("SF:")), bytes.Contains(text, []byte("\nSF:")):
		covered, total, err = lcov(in, maxLines)
	default:
		err = fmt.Errorf("it is neither a cover profile of Go, nor lcov, nor Cobertura's XML")
	}
	if err == nil && total == 0 {
		err = errNothing
	}
	if err != nil {
		return 0, 0, 0, err
	}
	return share(covered, total), covered, total, nil
}

func share(covered, total int64) float64 { return 100 * float64(covered) / float64(total) }
