package report

import (
	"bufio"
	"fmt"
	"hash/maphash"
	"io"
	"strconv"
	"strings"
)

// goProfile counts statements as go tool cover does. With -coverpkg a profile tells of
// each block once for every package of tests, so a block is all that is held, and of
// that its hash.
func goProfile(r io.Reader, max int) (covered, total int64, err error) {
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxText)
	seed := maphash.MakeSeed()
	hit := map[uint64]bool{} // by block
	for in.Scan() {
		text := strings.TrimSpace(in.Text())
		if text == "" || strings.HasPrefix(text, "mode: ") {
			continue // profiles may be put together
		}
		block, statements, count, err := profileLine(text)
		if err != nil {
			return 0, 0, err
		}
		key := maphash.String(seed, block)
		before, known := hit[key]
		if !known {
			total += statements
		}
		if count && !before {
			covered += statements
		}
		if hit[key] = before || count; len(hit) > max {
			return 0, 0, fmt.Errorf("it tells of more than %d blocks", max)
		}
	}
	return covered, total, in.Err()
}

// profileLine reads name.go:line.column,line.column statements count. The number of
// statements is part of the block.
func profileLine(text string) (block string, statements int64, hit bool, err error) {
	last := strings.LastIndexByte(text, ' ')
	middle := strings.LastIndexByte(text[:max(last, 0)], ' ')
	if middle < 1 || strings.Trim(text[last+1:], "0123456789") != "" {
		return "", 0, false, fmt.Errorf("%.80q is no line of a cover profile", text)
	}
	n, err := strconv.ParseUint(text[middle+1:last], 10, 32)
	if err != nil || n > 1<<20 || !strings.Contains(text[:middle], ":") {
		return "", 0, false, fmt.Errorf("%.80q is no line of a cover profile", text)
	}
	return text[:last], int64(n), positive(text[last+1:]), nil
}
