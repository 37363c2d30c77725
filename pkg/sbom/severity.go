package sbom

import (
	"encoding/json"
	"math"
	"strings"
)

// Severity is how bad a vulnerability is. A larger one is worse.
type Severity int

// The severities. Info is what CycloneDX calls info or none.
const (
	Unknown Severity = iota
	Info
	Low
	Medium
	High
	Critical
)

// String is the word that CycloneDX and pipeline files have for it.
func (s Severity) String() string {
	switch s {
	case Info:
		return "info"
	case Low:
		return "low"
	case Medium:
		return "medium"
	case High:
		return "high"
	case Critical:
		return "critical"
	}
	return "unknown"
}

func severityOf(word string) Severity {
	word = strings.ToLower(word)
	if word == "none" {
		return Info
	}
	for s := Info; s <= Critical; s++ {
		if s.String() == word {
			return s
		}
	}
	return Unknown
}

// rating is one opinion on a vulnerability.
type rating struct {
	Severity, Method, Vector text
	Score                    number
}

// severity is what the rating says. Some scanners write only a score, and osv-scanner
// only a vector. A score of another method than CVSS, such as EPSS, says nothing of it.
func (r rating) severity() Severity {
	if s := severityOf(string(r.Severity)); s != Unknown {
		return s
	}
	if r.Score > 0 && strings.HasPrefix(string(r.Method), "CVSS") {
		return ofScore(float64(r.Score), r.Method == "CVSSv2")
	}
	if score, ok := cvss3(string(r.Vector)); ok {
		return ofScore(score, false)
	}
	return Unknown
}

// ofScore is the word for a score of CVSS, from 0 to 10. Version 2 has no critical ones.
func ofScore(score float64, version2 bool) Severity {
	switch {
	case score >= 9 && !version2:
		return Critical
	case score >= 7:
		return High
	case score >= 4:
		return Medium
	case score > 0:
		return Low
	}
	return Info
}

// cvss3 is the base score of a vector such as CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H,
// as section 7.1 of the specification of CVSS 3.1 has it.
func cvss3(vector string) (score float64, ok bool) {
	rest, ok := strings.CutPrefix(vector, "CVSS:3.")
	if !ok {
		return 0, false
	}
	w := map[string]float64{}
	changed := strings.Contains(rest, "/S:C")
	for metric := range strings.SplitSeq(rest, "/") {
		if weight, ok := weightOf(metric, changed); ok {
			w[metric[:strings.IndexByte(metric, ':')]] = weight
		}
	}
	if len(w) != 7 {
		return 0, false
	}
	base := 1 - (1-w["C"])*(1-w["I"])*(1-w["A"])
	impact, factor := 6.42*base, 1.0
	if changed {
		impact, factor = 7.52*(base-0.029)-3.25*math.Pow(base-0.02, 15), 1.08
	}
	if impact <= 0 {
		return 0, true
	}
	score = factor * (impact + 8.22*w["AV"]*w["AC"]*w["PR"]*w["UI"])
	return math.Ceil(math.Round(min(score, 10)*1e5)/1e4) / 10, true
}

// weightOf is the weight of a metric, which may depend on whether the scope is changed.
func weightOf(metric string, changed bool) (float64, bool) {
	switch metric {
	case "AV:N", "PR:N", "UI:N":
		return 0.85, true
	case "AC:L":
		return 0.77, true
	case "AV:A", "UI:R":
		return 0.62, true
	case "C:H", "I:H", "A:H":
		return 0.56, true
	case "AV:L":
		return 0.55, true
	case "AC:H":
		return 0.44, true
	case "C:L", "I:L", "A:L":
		return 0.22, true
	case "AV:P":
		return 0.2, true
	case "C:N", "I:N", "A:N":
		return 0, true
	case "PR:L":
		return scoped(changed, 0.62, 0.68), true
	case "PR:H":
		return scoped(changed, 0.27, 0.5), true
	}
	return 0, false
}

func scoped(changed bool, same, other float64) float64 {
	if changed {
		return other
	}
	return same
}

// number is a JSON number; anything else is 0.
type number float64

// UnmarshalJSON implements [json.Unmarshaler].
func (n *number) UnmarshalJSON(data []byte) error {
	var f float64
	if json.Unmarshal(data, &f) == nil {
		*n = number(f)
	}
	return nil
}
