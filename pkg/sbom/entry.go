package sbom

import (
	"archive/tar"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
)

// Whiteouts, as the OCI image specification has them.
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
	reserved = ".wh..wh."
)

func (s *scanner) entry(h *tar.Header, content io.Reader) error {
	name, ok := clean(h.Name)
	if !ok {
		s.note("", "%.100q is no path of a file", h.Name)
		return nil
	}
	if name == "." || s.cover(name, h.Typeflag == tar.TypeDir) {
		return nil
	}
	delete(s.told, name) // of an entry that this one replaces
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		return s.file(name, h, content)
	case tar.TypeLink:
		s.link(name, h.Linkname)
	}
	return nil
}

// clean is the path of an entry without what does not matter. It is valid UTF-8, so that
// JSON does not change it.
func clean(name string) (string, bool) {
	out := path.Clean(strings.Trim(name, "/"))
	if name == "" || len(name) > maxPath || strings.ContainsRune(name, 0) || out == ".." || strings.HasPrefix(out, "../") {
		return "", false
	}
	return strings.ToValidUTF8(out, "\uFFFD"), true
}

// cover adds what an entry hides of lower layers. It is true for a whiteout, which is
// no file of its own.
func (s *scanner) cover(name string, isDir bool) bool {
	dir, base := path.Dir(name), path.Base(name)
	switch {
	case base == opaque:
		s.covers = append(s.covers, key(dir, allWithin))
		return true
	case strings.HasPrefix(base, reserved):
		return true
	case strings.HasPrefix(base, whiteout):
		if gone := base[len(whiteout):]; gone != "" && gone != "." && gone != ".." {
			s.covers = append(s.covers, key(path.Join(dir, gone), all))
		}
		return true
	case isDir:
		s.covers = append(s.covers, key(name, itself))
	default:
		s.covers = append(s.covers, key(name, all))
	}
	if dir != s.dir { // not every tar names its directories
		s.covers, s.dir = append(s.covers, key(dir, itself)), dir
	}
	return false
}

// link lets a hard link tell what its target tells: either may be removed by a higher layer.
func (s *scanner) link(name, target string) {
	target, ok := clean(target)
	told := s.told[target]
	switch {
	case !ok:
	case len(told) > 0:
		if s.take(cost(name) + len(told)*overhead) {
			s.told[name] = told
		}
	case isText(name) && !isText(target):
		s.note(name, "it is a link to %.100q, which was not read", target)
	}
}

func isText(name string) bool {
	t, _ := tellerOf(name)
	return t != nil
}

// file reads a file of interest. The error is ours, and not that of the file.
func (s *scanner) file(name string, h *tar.Header, content io.Reader) error {
	tell, limit := tellerOf(name)
	if tell == nil {
		tell, limit = s.binary(h, content), h.Size
	}
	switch {
	case tell == nil:
		return nil
	case isSparse(h):
		s.note(name, "a sparse file is not read")
		return nil
	case h.Size > limit:
		s.note(name, "it has %d bytes, the limit is %d", h.Size, limit)
		return nil
	}
	c := &collector{scanner: s, name: name, size: h.Size}
	err := tell(content, c)
	if errors.Is(err, errSpool) {
		return err
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil { // what it told before counts
		s.note(name, "%v", err)
	}
	if c.strange > 0 {
		s.note(name, "%d entries are no packages", c.strange)
	}
	if len(c.packages) > 0 {
		s.told[name] = slices.Clip(c.packages)
	}
	return nil
}

// isSparse tells whether the file may be larger than what the tar has of it.
func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for record := range h.PAXRecords {
		if strings.HasPrefix(record, "GNU.sparse.") {
			return true
		}
	}
	return false
}
