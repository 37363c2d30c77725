package render

import (
	"fmt"
	"io"

	"github.com/millrace-cd/millrace/pkg/delivery"
	"github.com/millrace-cd/millrace/pkg/sbom"
)

// SBOM writes a bill of materials as a table, and what was not read.
func SBOM(w io.Writer, s sbom.Summary) error {
	var rows [][]string
	for _, c := range s.Components {
		found := "-"
		if len(c.Found) > 0 {
			found = delivery.Text(c.Found[0])
		}
		if len(c.Found) > 1 {
			found += fmt.Sprintf(" and %d more", len(c.Found)-1)
		}
		rows = append(rows, []string{orDash(c.Name), orDash(c.Version), orDash(c.Kind), orDash(c.License), found})
	}
	if err := Table(w, []string{"NAME", "VERSION", "TYPE", "LICENSE", "FOUND IN"}, rows); err != nil {
		return err
	}
	for _, note := range s.Skipped {
		if _, err := fmt.Fprintln(w, "not read: "+delivery.Text(note)); err != nil {
			return err
		}
	}
	return nil
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return delivery.Text(s)
}
