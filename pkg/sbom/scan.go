package sbom

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/millrace-cd/millrace/pkg/archive"
)

const (
	maxEntries = 500_000  // of a tar
	maxPath    = 4096     // bytes of a path
	maxText    = 8 << 20  // bytes of a file of lines or JSON
	maxLine    = 1 << 20  // bytes
	maxTold    = 16 << 20 // bytes of memory for what all files tell
	maxNotes   = 100
	maxReason  = 200 // bytes
	maxField   = 512 // bytes of a name, a version or a license

	overhead = 128 // bytes that a package or a file takes beside its texts
	perLevel = 48  // bytes that [Merge] takes for each directory that a file is in
)

// Scan reads an uncompressed tar to the end of r. A file that it cannot read is skipped
// and noted. An error is one of r or of the tar itself; it wraps [archive.ErrRefused]
// where the tar is beyond the limits.
func Scan(r io.Reader) (Findings, error) {
	s := newScanner()
	err := s.tar(&input{r: r})
	if err == nil { // a reader that checks a digest at its end gets to do so
		_, err = io.Copy(io.Discard, r)
	}
	if err != nil {
		return Findings{}, fmt.Errorf("scan tar: %w", err)
	}
	return s.findings(), nil
}

// input remembers the error of a reader. A file that is broken is no reason to stop,
// but a reader that is.
type input struct {
	r   io.Reader
	err error
}

func (i *input) Read(p []byte) (int, error) {
	n, err := i.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		i.err = err
	}
	return n, err
}

// What is noted where a limit hides the rest.
const (
	moreSoftware = "there is more software than is listed"
	moreSkipped  = "more files were skipped than are noted"
)

type scanner struct {
	told    map[string][]Package // by path
	notes   []Note
	covers  Covers
	dir     string        // of the last entry
	entries int           // that may still come
	left    int           // bytes that may still be told
	full    bool          // more was told than is kept
	silent  bool          // more was skipped than is noted
	unpack  int64         // bytes that may still be read of zips
	stream  *bufio.Reader // for binaries, one after another
}

func newScanner() *scanner {
	return &scanner{
		told:    map[string][]Package{},
		entries: maxEntries,
		left:    maxTold,
		unpack:  maxUnpack,
		stream:  bufio.NewReaderSize(nil, window),
	}
}

func (s *scanner) tar(in *input) error {
	tr := tar.NewReader(in)
	for ; ; s.entries-- {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if s.entries == 0 {
			return fmt.Errorf("%w: it has more than %d entries", archive.ErrRefused, maxEntries)
		}
		if err := errors.Join(s.entry(h, tr), in.err); err != nil {
			return err
		}
	}
}

func (s *scanner) findings() Findings {
	f := Findings{Notes: s.notes, Covers: s.covers.sorted()}
	if s.full {
		f.Notes = append(f.Notes, Note{Reason: moreSoftware})
	}
	if s.silent {
		f.Notes = append(f.Notes, Note{Reason: moreSkipped})
	}
	for _, name := range slices.Sorted(maps.Keys(s.told)) {
		f.Files = append(f.Files, File{Path: name, Packages: s.told[name]})
	}
	slices.SortFunc(f.Notes, Note.compare)
	f.Notes = slices.Compact(f.Notes)
	return f
}
