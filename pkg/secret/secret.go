// Package secret gives steps the values of secrets by name, and keeps these values
// out of what steps print.
//
// Values live with the service, in files or in its environment, never in a
// repository and never on the bus. An error of this package tells where a value was
// looked for, never what it is.
package secret

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

const (
	// MinLength is the length of the shortest value, in bytes. What is shorter would
	// be masked in half of all lines.
	MinLength = 4
	// MaxLength is the length of the longest value, in bytes.
	MaxLength = 64 << 10
	// Prefix begins the names of variables that hold secrets.
	Prefix = "MILLRACE_SECRET_"
)

// ErrMissing says that a secret has no value.
var ErrMissing = errors.New("is not set")

var (
	validName  = regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,127}$`)
	validLabel = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
)

// Config says where values are.
type Config struct {
	Dir    string                      // of the files with values; "" means none
	Lookup func(string) (string, bool) // of the variables with values, as os.LookupEnv; nil means none
	Data   string                      // where the key of digests is kept; "" means a key that is forgotten with the store
}

// Store finds the values of secrets. It reads them anew each time, so that a changed
// value counts from the next step on. Safe for concurrent use.
type Store struct {
	sources []source
	key     []byte
}

// Open makes a store. It fails where the key of digests can be neither read nor made.
func Open(c Config) (*Store, error) {
	key, err := openKey(c.Data)
	if err != nil {
		return nil, err
	}
	s := &Store{key: key}
	if c.Dir != "" {
		s.sources = append(s.sources, files(c.Dir))
	}
	if c.Lookup != nil {
		s.sources = append(s.sources, variables(c.Lookup))
	}
	return s, nil
}

// Scope is who asks for a secret.
type Scope struct {
	App         string
	Environment string // "" outside of deployments
}

// String names the scope in errors.
func (s Scope) String() string {
	if s.Environment == "" {
		return "app " + s.App
	}
	return "app " + s.App + " in environment " + s.Environment
}

// Value finds one secret. What belongs to the environment comes before what belongs
// to the app, and that before what belongs to all apps; of each, a file comes before
// a variable:
//
//	DIR/APP/ENVIRONMENT/NAME   MILLRACE_SECRET_APP__ENVIRONMENT__NAME
//	DIR/APP/NAME               MILLRACE_SECRET_APP__NAME
//	DIR/NAME                   MILLRACE_SECRET_NAME
//
// In the name of a variable the app and the environment are in upper case, with _ for
// each dash, and two _ part them from what follows. Names with two _ in a row are not
// looked for in variables: a file of one app could name the variable of another.
//
// One newline at the end of a file does not count. The error is [ErrMissing] where
// there is no value, and says where it was looked for.
func (s *Store) Value(of Scope, name string) (string, error) {
	if err := check(of, name); err != nil {
		return "", err
	}
	var tried []string
	for _, path := range of.paths(name) {
		for _, look := range s.sources {
			value, place, err := look(path)
			switch {
			case err != nil:
				return "", fmt.Errorf("secret %s of %s: %w", name, of, err)
			case value != nil:
				return accept(value, name, place)
			case place != "":
				tried = append(tried, place)
			}
		}
	}
	if len(tried) == 0 {
		return "", fmt.Errorf("secret %s of %s %w: the service is set up with neither files nor variables for it", name, of, ErrMissing)
	}
	return "", fmt.Errorf("secret %s of %s %w: looked for %s", name, of, ErrMissing, strings.Join(tried, ", "))
}

// Values finds several secrets at once: names maps the name that each shall have to
// the name that it has here. The error tells all that are wrong.
func (s *Store) Values(of Scope, names map[string]string) (Values, error) {
	values := make(Values, len(names))
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(names)) {
		value, err := s.Value(of, names[name])
		if err != nil {
			wrong = append(wrong, err)
		}
		values[name] = value
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	return values, nil
}

func check(of Scope, name string) error {
	switch {
	case !validName.MatchString(name):
		return fmt.Errorf("secret %.80q: a name is made of A-Z, 0-9 and _ and begins with a letter", name)
	case !validLabel.MatchString(of.App):
		return fmt.Errorf("secret %s: app %.80q is not a DNS label", name, of.App)
	case of.Environment != "" && !validLabel.MatchString(of.Environment):
		return fmt.Errorf("secret %s: environment %.80q is not a DNS label", name, of.Environment)
	}
	return nil
}

// paths are where the secret may be, the most particular first.
func (s Scope) paths(name string) [][]string {
	paths := [][]string{{s.App, name}, {name}}
	if s.Environment != "" {
		paths = slices.Insert(paths, 0, []string{s.App, s.Environment, name})
	}
	return paths
}

// accept refuses what could not be masked, or not be passed on.
func accept(value []byte, name, place string) (string, error) {
	switch {
	case len(value) < MinLength:
		return "", fmt.Errorf("secret %s in %s has fewer than %d bytes, too few to be masked in logs", name, place, MinLength)
	case len(value) > MaxLength:
		return "", fmt.Errorf("secret %s in %s has more than %d bytes", name, place, MaxLength)
	case bytes.IndexByte(value, 0) >= 0:
		return "", fmt.Errorf("secret %s in %s has a zero byte, which no environment can hold: store it as base64", name, place)
	}
	return string(value), nil
}
