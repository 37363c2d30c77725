package pipeline

import (
	"fmt"
	"math"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var (
	isName      = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
	isStepName  = regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}$`)
	isEnvName   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)
	isSecret    = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)
	isSource    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$`)
	isPlatform  = regexp.MustCompile(`^[a-z0-9]+/[a-z0-9]+(/v[0-9]+)?$`)
	durations   = regexp.MustCompile(`^([0-9]+(ms|s|m|h))+$`)
	sizes       = regexp.MustCompile(`^([0-9]+)(Ki|Mi|Gi)$`)
	spokenTime  = regexp.MustCompile(`^\s*([0-9]+)\s*([A-Za-z]+)\s*$`)
	spokenSize  = regexp.MustCompile(`^\s*([0-9]+)\s*([KMGkmg])i?[Bb]?\s*$`)
	isPublish   = regexp.MustCompile(`^((([0-9.]+|\[[0-9a-f:]+\]):)?([0-9]+(-[0-9]+)?)?:)?[0-9]+(-[0-9]+)?(/(tcp|udp))?$`)
	isWindow    = regexp.MustCompile(`^` + day + `(-` + day + `)?(,` + day + `(-` + day + `)?)* ` + clock + `-` + clock + `( [A-Za-z_+0-9/-]+)?$`)
	hasTag      = regexp.MustCompile(`(:[^/]*|@.*)$`)
	isHTTPProbe = regexp.MustCompile(`^(:[0-9]+|https?://[^/]+)(/.*)?$`)
)

const (
	day   = `(Mon|Tue|Wed|Thu|Fri|Sat|Sun)`
	clock = `([01][0-9]|2[0-3]):[0-5][0-9]`
)

// matches is the rule that a text is of a form; else it is "not what".
func matches(form *regexp.Regexp, what, hint string) rule {
	return func(s string) (string, string) {
		if form.MatchString(s) {
			return "", ""
		}
		return quote(s) + " is not " + what, hint
	}
}

// unlessVariable leaves a rule to run time where a text uses variables.
func unlessVariable(r rule) rule {
	return func(s string) (string, string) {
		if strings.Contains(s, "${") {
			return "", ""
		}
		return r(s)
	}
}

func filled(s string) (string, string) {
	if strings.TrimSpace(s) == "" {
		return "this text is empty", "write a value, or remove the key"
	}
	return "", ""
}

// image accepts what may be a reference; the registry has the last word.
func image(s string) (string, string) {
	if s == "" {
		return "the image is empty", "write an image such as alpine:3.22"
	}
	if strings.ContainsAny(s, " \t\n") || s[0] == '-' {
		return quote(s) + " is not an image", ""
	}
	return "", ""
}

// repository is an image without tag: those stand in tags.
func repository(s string) (string, string) {
	if tag := hasTag.FindString(s); tag != "" && !strings.Contains(tag, "/") && !strings.Contains(s, "${") {
		return quote(s) + " has a tag or digest", "write " + strings.TrimSuffix(s, tag) + "; tags stand in release.tags"
	}
	return image(s)
}

func absolute(s string) (string, string) {
	if strings.HasPrefix(s, "/") {
		return "", ""
	}
	return quote(s) + " is not an absolute path", "write /" + strings.TrimPrefix(s, "./")
}

// inside accepts paths and globs that cannot leave the directory they are in.
func inside(s string) (string, string) {
	switch {
	case s == "":
		return "the path is empty", ""
	case strings.HasPrefix(s, "/"):
		return quote(s) + " is an absolute path", "write it relative to the root of the repository"
	case s == ".." || strings.HasPrefix(path.Clean(s), "../"):
		return quote(s) + " leaves the repository", ""
	}
	return "", ""
}

// cached accepts directories that can be a volume.
func cached(s string) (string, string) {
	if message, hint := absolute(s); message != "" {
		return message, hint
	}
	if c := path.Clean(s); c == "/" || c == "/workspace" {
		return "the whole of " + c + " cannot be a cache", "name a directory in it"
	}
	return "", ""
}

// volume accepts named volumes only: a file must not reach into the host.
func volume(s string) (string, string) {
	name, _, ok := strings.Cut(s, ":/")
	switch {
	case !ok:
		return quote(s) + " is not a volume", "write name:/path"
	case !isEnvName.MatchString(name) && !strings.Contains(name, "${"):
		return quote(s) + " is not a named volume", "directories of the host cannot be mounted"
	}
	return "", ""
}

func expression(s string) (string, string) {
	if _, err := regexp.Compile(s); err != nil {
		return quote(s) + " is not a regular expression", strings.TrimPrefix(err.Error(), "error parsing regexp: ")
	}
	return filled(s)
}

func isDuration(s string) (string, string) {
	if !durations.MatchString(s) {
		return quote(s) + " is not a duration", durationHint(s)
	}
	switch t, err := time.ParseDuration(s); {
	case err != nil:
		return quote(s) + " is too long", ""
	case t == 0:
		return quote(s) + " is no time at all", "write 30s or 10m"
	}
	return "", ""
}

// durationHint is what was probably meant, such as 10m by "10 minutes".
func durationHint(s string) string {
	const usual = "write 30s or 10m"
	m := spokenTime.FindStringSubmatch(s)
	if m == nil {
		return usual
	}
	n, err := strconv.Atoi(m[1])
	if err != nil || n > 10_000 {
		return usual
	}
	unit := strings.ToLower(m[2])
	if unit != "ms" {
		unit = strings.TrimSuffix(unit, "s")
	}
	switch unit {
	case "ms", "milli", "millisecond":
		return fmt.Sprintf("write %dms", n)
	case "", "sec", "second":
		return fmt.Sprintf("write %ds", n)
	case "m", "min", "minute":
		return fmt.Sprintf("write %dm", n)
	case "h", "hr", "hour":
		return fmt.Sprintf("write %dh", n)
	case "d", "day":
		return fmt.Sprintf("write %dh", n*24)
	case "w", "week":
		return fmt.Sprintf("write %dh", n*24*7)
	}
	return usual
}

func isSize(s string) (string, string) {
	if !sizes.MatchString(s) {
		hint := "write 512Mi or 2Gi"
		if m := spokenSize.FindStringSubmatch(s); m != nil {
			hint = "write " + m[1] + strings.ToUpper(m[2]) + "i"
		}
		return quote(s) + " is not a size", hint
	}
	if n, ok := parseSize(s); !ok || n == 0 {
		return quote(s) + " is not a possible size", "write 512Mi or 2Gi"
	}
	return "", ""
}

// parseSize is the number of bytes; false where s is no size or too large to count.
func parseSize(s string) (int64, bool) {
	m := sizes.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	unit := map[string]int64{"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}[m[2]]
	if err != nil || n > math.MaxInt64/unit {
		return 0, false
	}
	return n * unit, true
}
