package git

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// grace is how long git may take to remove its temporary files when it is told
// to end.
const grace = 5 * time.Second

// environment is all that git sees of ours. Secrets stand here and not among the
// arguments, which every user of the host can read.
func environment(cfg Config, binary, global string) []string {
	env := []string{
		"PATH=" + filepath.Dir(binary) + ":/usr/local/bin:/usr/bin:/bin",
		"HOME=/nonexistent", "LC_ALL=C",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + global, "GIT_ATTR_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=/bin/true", "SSH_ASKPASS=/bin/true",
		"GIT_ALLOW_PROTOCOL=" + strings.Join(cfg.Protocols, ":"),
		"GIT_LFS_SKIP_SMUDGE=1", "GIT_NO_REPLACE_OBJECTS=1", "GIT_OPTIONAL_LOCKS=0",
		"GIT_SSH_COMMAND=" + sshCommand(cfg), "GIT_SSH_VARIANT=ssh",
	}
	if cfg.CAFile != "" {
		env = append(env, "GIT_SSL_CAINFO="+cfg.CAFile)
	}
	for i, name := range slices.Sorted(maps.Keys(cfg.Tokens)) {
		env = append(env,
			fmt.Sprintf("GIT_CONFIG_KEY_%d=http.https://%s/.extraHeader", i, name),
			fmt.Sprintf("GIT_CONFIG_VALUE_%d=Authorization: Basic %s", i, base64.StdEncoding.EncodeToString([]byte(cfg.Tokens[name]))))
	}
	return append(env, fmt.Sprintf("GIT_CONFIG_COUNT=%d", len(cfg.Tokens)))
}

// sshCommand is read by a shell, so file names are quoted for it.
func sshCommand(cfg Config) string {
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
	cmd := "ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=20 -o IdentitiesOnly=yes"
	if cfg.SSHKey != "" {
		cmd += " -i " + quote(cfg.SSHKey)
	}
	if cfg.KnownHosts != "" {
		cmd += " -o GlobalKnownHostsFile=/dev/null -o UserKnownHostsFile=" + quote(cfg.KnownHosts)
	}
	return cmd
}

// options close what a repository's or the system's configuration could open.
func (g *Git) options() []string {
	options := []string{
		"core.hooksPath=/dev/null", "core.fsmonitor=false", "core.attributesFile=/dev/null", "core.useReplaceRefs=false",
		"protocol.allow=never", "submodule.recurse=false", "fetch.recurseSubmodules=false", "credential.helper=",
		"transfer.fsckObjects=true", "fetch.fsckObjects=true", "transfer.bundleURI=false",
		// Old but harmless faults that the large hosts let pass as well.
		"fetch.fsck.badTimezone=ignore", "fetch.fsck.missingSpaceBeforeDate=ignore", "fetch.fsck.zeroPaddedFilemode=ignore",
		"gc.auto=0", "maintenance.auto=false", "fetch.writeCommitGraph=false", "core.fsync=committed", "core.fsyncMethod=batch",
		"http.followRedirects=false", "http.lowSpeedLimit=1000", "http.lowSpeedTime=60", "http.proxy=" + g.cfg.Proxy,
		"log.showSignature=false", "log.mailmap=false", "i18n.logOutputEncoding=UTF-8", "advice.detachedHead=false",
	}
	for _, p := range g.cfg.Protocols {
		options = append(options, "protocol."+p+".allow=always")
	}
	args := make([]string, 0, 2*len(options))
	for _, o := range options {
		args = append(args, "-c", o)
	}
	return args
}

// call is one run of git.
type call struct {
	dir  string   // the bare repository
	args []string // the command's name first
	in   io.Reader
	out  io.Writer // nil = kept for output
	lock *os.File  // inherited, so that it stays held for as long as anything of git runs
}

// failure is git's own word on why it ended.
type failure struct {
	command string
	code    int
	stderr  string
}

func (f *failure) Error() string {
	return fmt.Sprintf("git %s: exit code %d: %s", f.command, f.code, f.stderr)
}

// run runs git and gives what it printed, unless c.out takes that. When ctx ends,
// git and its helpers are told to end, and killed if they do not.
func (g *Git) run(ctx context.Context, c call) (string, error) {
	var out bytes.Buffer
	stderr := &tail{max: 4 << 10}
	cmd := exec.CommandContext(ctx, g.binary, append(append(g.options(), "--git-dir="+c.dir), c.args...)...) //nolint:gosec // no shell, arguments are checked
	cmd.Env, cmd.Dir, cmd.Stdin, cmd.Stderr = g.env, g.cfg.Dir, c.in, stderr
	if cmd.Stdout = c.out; c.out == nil {
		cmd.Stdout = &out
	}
	if c.lock != nil {
		cmd.ExtraFiles = []*os.File{c.lock}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = grace
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	err := cmd.Run()
	if cmd.Process != nil && ctx.Err() != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // helpers that outlived git
	}
	if ctx.Err() != nil {
		return "", fmt.Errorf("git %s: %w", c.args[0], context.Cause(ctx))
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return "", &failure{command: c.args[0], code: exit.ExitCode(), stderr: Redact(stderr.String())}
	}
	if err != nil {
		return "", fmt.Errorf("git %s: %w", c.args[0], err)
	}
	return out.String(), nil
}

// tail keeps the end of what is written: git says at its end why it failed.
type tail struct {
	max  int
	kept []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	t.kept = t.kept[max(0, len(t.kept)-t.max):]
	return len(p), nil
}

// String is what was kept, as one line.
func (t *tail) String() string {
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(string(t.kept), "?"), func(r rune) bool { return r < ' ' }), "; ")
}
