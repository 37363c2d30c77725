package git

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

var (
	hash = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
	host = regexp.MustCompile(`^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)(:[0-9]{1,5})?$`)
	user = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._+-]*$`)
	scp  = regexp.MustCompile(`^([^@:/]+)@([^@:/]+):([^:]+)$`) // git@github.com:owner/name.git

	userinfo = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)[^/@\s]*@`)
)

// CheckHash wants 40 or 64 lower-case hex digits.
func CheckHash(commit string) error {
	if !hash.MatchString(commit) {
		return fmt.Errorf("%w: commit %.80q is not 40 or 64 lower-case hex digits", ErrRefused, commit)
	}
	return nil
}

// CheckRef wants the full name of a branch or tag, by the rules of
// git check-ref-format.
func CheckRef(ref string) error {
	refuse := func(why string) error { return fmt.Errorf("%w: ref %.80q %s", ErrRefused, ref, why) }
	name, ok := strings.CutPrefix(ref, "refs/heads/")
	if !ok {
		name, ok = strings.CutPrefix(ref, "refs/tags/")
	}
	switch {
	case !ok || name == "":
		return refuse("does not begin with refs/heads/ or refs/tags/")
	case len(ref) > 512:
		return refuse("is longer than 512 bytes")
	case strings.ContainsAny(name, " ~^:?*[\\") || strings.ContainsFunc(name, unicode.IsControl):
		return refuse("has a character that no ref has")
	case strings.Contains(name, "..") || strings.Contains(name, "@{") || strings.HasSuffix(name, "."):
		return refuse("has .. or @{ in it or ends with a dot")
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part[0] == '.' || part[0] == '-' || strings.HasSuffix(part, ".lock") {
			return refuse("has a part that is empty, begins with a dot or dash, or ends with .lock")
		}
	}
	return nil
}

// CheckURL wants a URL of one of the protocols, host:path in the way of scp where
// ssh is among them, or an absolute path where file is. A password does not
// belong there: the URL is kept with the events of the delivery.
func CheckURL(repository string, protocols []string) error {
	refuse := func(why string) error {
		return fmt.Errorf("%w: repository %.200q %s", ErrRefused, Redact(repository), why)
	}
	allowed := func(protocol string) bool { return slices.Contains(protocols, protocol) }
	if repository == "" || len(repository) > 2048 || strings.ContainsFunc(repository, notInURL) {
		return refuse("is empty, longer than 2048 bytes, or has spaces or control characters")
	}
	if path.IsAbs(repository) {
		if !allowed("file") {
			return refuse("is a path, which is not allowed here")
		}
		return nil
	}
	if m := scp.FindStringSubmatch(repository); m != nil {
		if !allowed("ssh") || !user.MatchString(m[1]) || !host.MatchString(m[2]) || m[3][0] == '-' {
			return refuse("is not allowed here")
		}
		return nil
	}
	u, err := url.Parse(repository)
	if err != nil {
		return refuse("is not a URL")
	}
	if !allowed(u.Scheme) {
		return refuse("has none of the protocols that are allowed here: " + strings.Join(protocols, ", "))
	}
	return checkParts(u, refuse)
}

func checkParts(u *url.URL, refuse func(string) error) error {
	if _, secret := u.User.Password(); secret {
		return refuse("has a password in it; give that to the service instead")
	}
	switch {
	case u.Opaque != "" || u.Path == "" || u.Path == "/" || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return refuse("has no path, or a query or fragment")
	case u.Scheme == "file":
		if u.Host != "" || u.User != nil {
			return refuse("is a file on another host")
		}
		return nil
	case !host.MatchString(u.Host):
		return refuse("has no host, or not the name of one")
	case u.User != nil && !user.MatchString(u.User.Username()):
		return refuse("has a user of other characters than letters, digits and ._+-")
	case strings.HasPrefix(u.Path, "/-"):
		return refuse("has a path that begins with a dash")
	}
	return nil
}

// Redact takes user and password out of every URL in the text.
func Redact(text string) string { return userinfo.ReplaceAllString(text, "$1") }

func notInURL(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }
