package sbom

import (
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// license is an SPDX expression where the text can be one, or else a name.
func license(text string) cdx.LicenseChoice {
	if isExpression(text) {
		return cdx.LicenseChoice{Expression: text}
	}
	return cdx.LicenseChoice{License: &cdx.License{Name: text}}
}

// isExpression tells whether a text has the form of an SPDX expression: ids with an
// operator between any two, in parentheses that fit.
func isExpression(text string) bool {
	open, wantID := 0, true
	for word := range strings.FieldsSeq(strings.NewReplacer("(", " ( ", ")", " ) ").Replace(text)) {
		operator := word == "AND" || word == "OR" || word == "WITH"
		switch {
		case word == "(" && wantID:
			open++
		case word == ")" && !wantID && open > 0:
			open--
		case operator && !wantID:
			wantID = true
		case !operator && wantID && isLicenseID(word):
			wantID = false
		default:
			return false
		}
	}
	return open == 0 && !wantID
}

func isLicenseID(word string) bool {
	return !strings.ContainsFunc(word, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '+' && r != ':'
	})
}
