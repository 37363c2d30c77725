package container

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// secretsDir is where a step finds its secrets as files.
const secretsDir = "/run/secrets"

const (
	// maxSecrets is how many bytes the values of a step's secrets have in all: a shell
	// reads them byte by byte.
	maxSecrets = 64 << 10
	// The files take a page each; together they have to fit into secretsTmpfs.
	maxSecretFiles = 100
	secretsTmpfs   = "rw,noexec,nosuid,nodev,size=1m,mode=1777"
)

// secretPattern is what a shell takes as the name of a variable.
var secretPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// shellsOwn are variables that some shell does not let anybody set, or not to any value.
func shellsOwn() []string {
	return []string{"_", "BASHOPTS", "BASH_VERSINFO", "EUID", "LINENO", "OPTIND", "PPID", "SHELLOPTS", "UID"}
}

// checkSecrets refuses what cannot be handed over. The error tells no value.
func checkSecrets(secrets map[string]string) error {
	size := 0
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		switch {
		case !secretPattern.MatchString(name):
			return fmt.Errorf("secret %q: want a name of letters, digits and underscores", name)
		case slices.Contains(shellsOwn(), name):
			return fmt.Errorf("secret %s: shells keep this name for themselves", name)
		case strings.Contains(secrets[name], "\x00"):
			return fmt.Errorf("secret %s: its value has a zero byte, which no variable holds", name)
		}
		size += len(secrets[name])
	}
	if size > maxSecrets {
		return fmt.Errorf("secrets of %d bytes in all: want at most %d KiB", size, maxSecrets>>10)
	}
	if len(secrets) > maxSecretFiles {
		return errors.New("more than 100 secrets")
	}
	return nil
}

// handover is one line of shell that exports secrets and writes their files. Only what
// is built into the shell is used, since a program's arguments are seen by all. The
// values are escaped so that the line is plain text whatever is in them, and end in an
// x, which is taken off again, so that the shell does not take newlines off.
func handover(secrets map[string]string) []byte {
	if len(secrets) == 0 {
		return nil
	}
	b := []byte(`[ "$(command -v printf)" = printf ]&&__umask=$(umask)&&umask 0377`)
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		b = append(b, "&&"+name+"=$(printf %b '"...)
		b = appendEscaped(b, secrets[name])
		b = append(b, "x')&&"+name+"=${"+name+"%x}&&export "+name+
			`&&printf %s "$`+name+`">`+secretsDir+"/"+name...)
	}
	return append(b, `&&umask "$__umask"`...)
}

// appendEscaped appends value as printf's %b reads it, without quotes and backslashes
// but those of its escapes.
func appendEscaped(b []byte, value string) []byte {
	for i := range len(value) {
		switch c := value[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("_-./:+=", c) >= 0:
			b = append(b, c)
		default:
			b = fmt.Appendf(b, `\0%03o`, c)
		}
	}
	return b
}
