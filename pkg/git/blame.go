package git

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// What git and the common servers say, in the C locale and lower case.
var (
	// The repository or the ref is not there. Hosts that answer the same for a
	// private repository without credentials say so by 401, which is ours.
	sayNotFound = regexp.MustCompile(`couldn't find remote ref|not our ref|no such remote ref|does not appear to be a git repository|` +
		`repository not found|error: 404|' not found|the project you were looking for could not be found`)
	// What was sent did not stand the check, or cannot be what was asked for.
	sayRefused = regexp.MustCompile(`fsck error|mismatched algorithms|error: 30[1278]|transport '|protocol '`)
	// The mirror lost something that it had.
	sayLost = regexp.MustCompile(`object file \S+ is empty|loose object .* is corrupt|bad object|inflate: |unable to unpack|unable to read|` +
		`could not read [0-9a-f]{40}|packfile|index file .* is too small|not a git repository|did not send all necessary objects|` +
		`broken ref|bad config|missing (blob|tree|commit)`)
)

// blame turns git's words into [ErrNotFound] or [ErrRefused] where the commit is
// at fault.
func blame(err error) error {
	f, ok := errors.AsType[*failure](err)
	switch {
	case !ok:
		return err
	case sayRefused.MatchString(f.words()):
		return fmt.Errorf("%w: %w", ErrRefused, err)
	case sayNotFound.MatchString(f.words()):
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return err
}

// broken tells whether an error is the mirror's. To be wrong costs one clone.
func broken(err error) bool {
	f, ok := errors.AsType[*failure](err)
	if !ok || sayNotFound.MatchString(f.words()) || sayRefused.MatchString(f.words()) {
		return false
	}
	for line := range strings.SplitSeq(f.words(), "; ") {
		if !strings.HasPrefix(line, "remote: ") && sayLost.MatchString(line) {
			return true
		}
	}
	return false
}

func (f *failure) words() string { return strings.ToLower(f.stderr) }
