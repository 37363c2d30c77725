package render

import (
	"github.com/millrace-cd/millrace/pkg/archive"
	"github.com/millrace-cd/millrace/pkg/delivery"
)

// FileHeader names the columns of [File].
func FileHeader() []string { return []string{"MODE", "SIZE", "DIGEST", "FILE"} }

// File is a file of an artifact in a table.
func File(f archive.File) []string {
	name := delivery.Text(f.Path)
	if f.Link != "" {
		name += Dim(" → " + delivery.Text(f.Link))
	}
	return []string{delivery.Text(f.Mode), Bytes(f.Size), Digest(f.Digest), name}
}

// Amount is how much files are: 3 files, 1.2 MB.
func Amount(s archive.Stats) string { return Count(s.Files, "file") + ", " + Bytes(s.Bytes) }
