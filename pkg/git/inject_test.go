package git

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Every case ran the attacker's command, or wrote the attacker's file, with a
// plain git. Should one ever come past the checks of names, the closed
// environment still stops it.
func TestClosedEnvironment(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	pwned, server, clone := filepath.Join(base, "pwned"), filepath.Join(base, "server.git"), filepath.Join(base, "clone")
	setup(t, "init", "--quiet", "--bare", server)
	setup(t, "init", "--quiet", clone)
	setup(t, "-C", clone, "commit", "--quiet", "--allow-empty", "-m", "first")
	setup(t, "-C", clone, "push", "--quiet", server, "HEAD:refs/heads/main")
	// What tests of an app could have written.
	setup(t, "-C", clone, "config", "core.fsmonitor", "touch "+pwned)
	setup(t, "-C", clone, "config", "core.sshCommand", "touch "+pwned+"; false")
	for _, hook := range []string{"post-checkout", "reference-transaction", "pre-auto-gc"} {
		if err := os.WriteFile(filepath.Join(clone, ".git/hooks", hook), []byte("#!/bin/sh\ntouch "+pwned), 0o755); err != nil { //nolint:gosec // a hook is a program
			t.Fatal(err)
		}
	}

	g, err := Open(Config{Dir: filepath.Join(base, "mirrors"), Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"option as URL":          {"fetch", "--end-of-options", "--upload-pack=touch " + pwned},
		"option as ref":          {"fetch", "--end-of-options", server, "--upload-pack=touch " + pwned},
		"ext protocol":           {"fetch", "--end-of-options", "ext::sh -c touch% " + pwned},
		"path":                   {"fetch", "--end-of-options", server, "main"},
		"file protocol":          {"fetch", "--end-of-options", "file://" + server, "main"},
		"ssh option as host":     {"fetch", "--end-of-options", "ssh://-oProxyCommand=touch " + pwned + "/x"},
		"ssh command of config":  {"fetch", "--end-of-options", "ssh://127.0.0.1:1/x"},
		"output option in log":   {"log", "-1", "--end-of-options", "--output=" + pwned},
		"output option, ls-tree": {"ls-tree", "--end-of-options", "--output=" + pwned},
		"fsmonitor of config":    {"--work-tree=" + clone, "status"},
		"hooks":                  {"update-ref", "refs/heads/x", "HEAD"},
		"maintenance":            {"gc", "--auto"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := g.run(t.Context(), call{dir: filepath.Join(clone, ".git"), args: args})
			t.Log(err)
			if _, err := os.Lstat(pwned); err == nil {
				t.Error("the attacker's command ran")
				_ = os.Remove(pwned)
			}
		})
	}
}

// The same by the front door: no name gets as far as git.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	pwned := filepath.Join(base, "pwned")
	g, err := Open(Config{Dir: filepath.Join(base, "mirrors"), Protocols: []string{"https", "ssh", "file"}, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	hash := strings.Repeat("0", 40)
	for _, in := range [][3]string{
		{"--upload-pack=touch " + pwned, hash, "refs/heads/main"},
		{"/srv/x.git", hash, "--upload-pack=touch " + pwned},
		{"/srv/x.git", "--upload-pack=touch " + pwned, ""},
		{"/srv/x.git", "--output=" + pwned, ""},
		{"ext::sh -c touch% " + pwned, hash, ""},
		{"ssh://-oProxyCommand=touch " + pwned + "/x", hash, ""},
	} {
		if _, err := g.Fetch(t.Context(), in[0], in[1], in[2]); err == nil || !strings.HasPrefix(err.Error(), "refused: ") {
			t.Errorf("%q: error is %v, want refused", in, err)
		}
		if _, err := g.Archive(t.Context(), in[0], in[1], in[2], nil); err == nil {
			t.Errorf("%q: no error", in)
		}
	}
	if names, err := filepath.Glob(filepath.Join(base, "mirrors", "*.git")); len(names) > 0 {
		t.Errorf("mirrors were made: %v, %v", names, err)
	}
	if _, err := os.Lstat(pwned); err == nil {
		t.Error("the attacker's command ran")
	}
}

func setup(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b"}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}
