package event

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"
	"unicode"
)

var (
	appName = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
	hexID   = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
)

// Check tells what is wrong with a commit event, all at once; nil where nothing is.
// It looks at form only: whether the commit exists is for git to say.
func (c Commit) Check() error {
	return errors.Join(c.checkApp(), c.checkHash(), c.checkRepository(), c.checkRef(), c.checkPath())
}

func (c Commit) checkApp() error {
	if !appName.MatchString(c.App) {
		return fmt.Errorf("app %.80q is not a DNS label (a-z, 0-9 and -, begins with a letter, at most 63)", c.App)
	}
	return nil
}

func (c Commit) checkHash() error {
	if !hexID.MatchString(c.Hash) {
		return fmt.Errorf("commit %.80q is not 40 or 64 lower-case hex digits", c.Hash)
	}
	return nil
}

func (c Commit) checkRepository() error {
	switch {
	case c.Repository == "":
		return errors.New("repository is missing")
	case len(c.Repository) > 2048 || strings.HasPrefix(c.Repository, "-") || strings.ContainsFunc(c.Repository, unreadable):
		return fmt.Errorf("repository %.80q is not a URL", c.Repository)
	}
	return nil
}

// checkRef follows git check-ref-format, for branches and tags only.
func (c Commit) checkRef() error {
	if c.Ref == "" {
		return nil
	}
	name, isBranch := strings.CutPrefix(c.Ref, "refs/heads/")
	if !isBranch {
		var isTag bool
		if name, isTag = strings.CutPrefix(c.Ref, "refs/tags/"); !isTag {
			return fmt.Errorf("ref %.80q begins with neither refs/heads/ nor refs/tags/", c.Ref)
		}
	}
	bad := name == "" || len(name) > 255 || strings.Contains(name, "..") || strings.Contains(name, "@{") || strings.Contains(name, "//") ||
		strings.HasPrefix(name, "-") || strings.HasSuffix(name, "/") || strings.HasSuffix(name, ".") || strings.ContainsAny(name, " ~^:?*[\\") || strings.ContainsFunc(name, unreadable)
	for part := range strings.SplitSeq(name, "/") {
		bad = bad || strings.HasPrefix(part, ".") || strings.HasPrefix(part, "-") || strings.HasSuffix(part, ".lock")
	}
	if bad {
		return fmt.Errorf("ref %.80q is not one that git allows", c.Ref)
	}
	return nil
}

func (c Commit) checkPath() error {
	if c.Path == "" || c.Path == path.Clean(c.Path) && !strings.HasPrefix(c.Path, "/") && !strings.HasPrefix(c.Path, "..") && len(c.Path) <= 1024 && !strings.ContainsFunc(c.Path, unreadable) {
		return nil
	}
	return fmt.Errorf("path %.80q is not a directory inside the repository", c.Path)
}

func unreadable(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }
