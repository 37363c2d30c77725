// Package archive packs trees of files into tars and unpacks tars that nobody
// vouches for.
//
// A tar that it writes depends on nothing but the names, contents, link targets
// and executable bits of its files: the same tree has the same bytes, so the
// same digest, whoever packs it and whenever. Directories are implied, so an
// empty one is not kept; owners, times and all other mode bits are dropped.
//
// A tar that it reads can do no more than fill the given directory, within
// [Limits]; whatever else it tries is an error that wraps [ErrRefused].
package archive

import (
	"errors"
	"io"
)

// ErrRefused is wrapped by every error that the files themselves are to blame
// for: a name, a link, a kind of file or a size that is not allowed. Trying
// again cannot help.
var ErrRefused = errors.New("refused")

// Entry is one file or link of a tree that is to be packed.
type Entry struct {
	Path       string // slash-separated, relative and clean
	Link       string // target of a symbolic link; "" for a regular file
	Size       int64  // of a regular file, in bytes; Open has to give exactly as many
	Executable bool

	// Open gives the content of a regular file. It is called when the entry's
	// turn has come, so that one file is open at a time.
	Open func() (io.ReadCloser, error)
}

// File is what a packed tree says of one of its files; as JSON it is a line of
// the artifact's list.
type File struct {
	Path   string `json:"path"`
	Digest string `json:"digest,omitempty"` // sha256:<hex> of the content; "" for a link
	Size   int64  `json:"size"`
	Mode   string `json:"mode"` // 0644, 0755, or 0777 for a link
	Link   string `json:"link,omitempty"`
}

// Stats counts a tree.
type Stats struct {
	Files int   // regular files and links
	Bytes int64 // of the regular files' contents
}

// Limits bound a tree. The zero value allows nothing: begin with [Artifact] or
// [Source].
type Limits struct {
	FileBytes  int64 // of one file
	TotalBytes int64 // of all files
	Entries    int   // files, links, and directories that a tar names
	PathBytes  int   // of one path, and of a link's target
	Depth      int   // directories above a file
	Links      bool  // symbolic links are allowed, where they stay inside the tree
}

// Artifact are the limits of what a build makes.
func Artifact() Limits {
	return Limits{FileBytes: 1 << 30, TotalBytes: 2 << 30, Entries: 10_000, PathBytes: 1024, Depth: 32, Links: true}
}

// Source are the limits of a tree that comes from a repository.
func Source() Limits {
	return Limits{FileBytes: 2 << 30, TotalBytes: 8 << 30, Entries: 200_000, PathBytes: 1024, Depth: 64, Links: true}
}

// Count sums up what [Pack] returned.
func Count(files []File) Stats {
	stats := Stats{Files: len(files)}
	for _, f := range files {
		stats.Bytes += f.Size
	}
	return stats
}
