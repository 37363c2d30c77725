package git_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/millrace-cd/millrace/pkg/git"
)

func TestCheckURL(t *testing.T) {
	t.Parallel()
	network := []string{"https", "ssh"}
	for repository, protocols := range map[string][]string{
		"https://github.com/o/r.git": network, "https://user@bitbucket.org/o/r": network, "https://[::1]:8443/r.git": network,
		"ssh://git@host:2222/o/r.git": network, "git@github.com:o/r.git": network, "git@github.com:~u/r": network,
		"file:///srv/r.git": {"file"}, "/srv/r.git": {"file"}, "http://127.0.0.1:80/r": {"http"},
	} {
		if err := git.CheckURL(repository, protocols); err != nil {
			t.Errorf("%s: %v", repository, err)
		}
	}
	for _, repository := range []string{
		"", "x", "./x", "../x", "-x", "--upload-pack=touch pwned", "--upload-pack=touch", "ext::sh -c touch% pwned", "ext::sh", "fd::17", "https::https://x/y",
		"/srv/r.git", "file:///srv/r.git", "http://host/r", "git://host/r", "ftp://host/r", "HTTPS//x", "https:/x/y", "https:x/y",
		"https:///r", "https://host", "https://host/", "https://-host/r", "https://ho st/r", "https://host/r?x=1", "https://host/r#f", "https://host/r?",
		"https://host/-r", "https://host:port/r", "https://host/r\n", "https://host/\x1b[2J", "https://u:p@host/r", "https://u%0a@host/r", "https://-u@host/r", "https://%2doProxyCommand=x/r",
		"ssh://-oProxyCommand=touch/x", "ssh://-oProxyCommand=touch pwned/x", "ssh://git@-oProxyCommand=x/r", "-oProxyCommand=x@host:r", "git@-oProxyCommand=x:r", "git@host:-r", "host:r", "a b@host:r",
		"https://host/" + strings.Repeat("r", 2048),
	} {
		if err := git.CheckURL(repository, network); !errors.Is(err, git.ErrRefused) {
			t.Errorf("%q: error is %v, want ErrRefused", repository, err)
		}
	}
	if err := git.CheckURL("file://host/srv/r.git", []string{"file"}); !errors.Is(err, git.ErrRefused) {
		t.Errorf("file on another host: error is %v, want ErrRefused", err)
	}
}

func TestCheckRef(t *testing.T) {
	t.Parallel()
	for _, ref := range []string{"refs/heads/main", "refs/tags/v1.0.0", "refs/heads/feature/a-b_c", "refs/heads/ünicode", "refs/heads/a@b"} {
		if err := git.CheckRef(ref); err != nil {
			t.Errorf("%s: %v", ref, err)
		}
	}
	for _, ref := range []string{
		"", "main", "HEAD", "refs/heads/", "refs/heads", "refs/remotes/origin/main", "refs/pull/1/head", "refs/heads/../tags/x", "refs/heads/a..b", "refs/heads/a/../b",
		"-f", "--upload-pack=touch pwned", "--output=pwned", "refs/heads/-f", "refs/heads/a/-f", "refs/heads/a/", "refs/heads//a", "refs/heads/.a", "refs/heads/a.", "refs/heads/a.lock", "refs/heads/a.lock/b",
		"refs/heads/a b", "refs/heads/a~1", "refs/heads/a^", "refs/heads/a:b", "refs/heads/a?", "refs/heads/*", "refs/heads/a[", `refs/heads/a\b`, "refs/heads/a@{1}", "refs/heads/a\n", "refs/heads/a\x00", "refs/heads/a\x7f",
		"+refs/heads/a", "refs/heads/" + strings.Repeat("a", 512),
	} {
		if err := git.CheckRef(ref); !errors.Is(err, git.ErrRefused) {
			t.Errorf("%q: error is %v, want ErrRefused", ref, err)
		}
	}
}

func TestCheckHash(t *testing.T) {
	t.Parallel()
	for _, n := range []int{40, 64} {
		if err := git.CheckHash(strings.Repeat("0", n)); err != nil {
			t.Error(err)
		}
	}
	for _, hash := range []string{"", "main", "HEAD", "--all", strings.Repeat("A", 40), strings.Repeat("g", 40), strings.Repeat("0", 39), strings.Repeat("0", 41), strings.Repeat("0", 40) + "\n"} {
		if err := git.CheckHash(hash); !errors.Is(err, git.ErrRefused) {
			t.Errorf("%q: error is %v, want ErrRefused", hash, err)
		}
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	got := git.Redact("fatal: unable to access 'https://ada:s3cret@host/r': and ssh://tok@host/x, ok https://host/a@b")
	if want := "fatal: unable to access 'https://host/r': and ssh://host/x, ok https://host/a@b"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	err := git.CheckURL("https://ada:s3cret@host/r", []string{"https"})
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("error is %v, want one without the password", err)
	}
}
