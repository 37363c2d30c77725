// Package git fetches commits with the git command line, of which nothing is
// trusted but its name.
//
// Each repository has a bare mirror in one directory that any number of
// processes share, so a new commit costs what is new in it. git runs in a closed
// environment: no configuration, hook, filter, credential helper, prompt or
// protocol takes part that was not asked for in [Config]; what a repository
// holds is only ever read, never checked out and never run. Fetched objects are
// checked (git fsck), and an archive is the tree and nothing else: attributes
// change no byte, submodules and large-file pointers are not followed.
//
// Errors that wrap [ErrNotFound] or [ErrRefused] are the commit's fault; trying
// again cannot help. All others are ours: network, credentials, disk.
package git

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/millrace-cd/millrace/pkg/archive"
)

var (
	// ErrNotFound says that there is no such repository, ref, commit or path, or
	// that the commit is not on the ref.
	ErrNotFound = errors.New("not found")
	// ErrRefused says that a name is not one that git may see, or that what the
	// repository holds is not fit to be delivered. It is [archive.ErrRefused].
	ErrRefused = archive.ErrRefused
)

// Config says where mirrors lie and what git may do.
type Config struct {
	Dir       string        // of the mirrors; made if need be
	Protocols []string      // that URLs may have; empty = https and ssh. "file" allows paths too
	Timeout   time.Duration // of one fetch; 0 = 10 minutes

	CAFile string            // PEM bundle that https servers are checked against; "" = the system's
	Proxy  string            // URL of a proxy for https; "" = none
	Tokens map[string]string // host → user:password for https; on GitHub x-access-token:<token>

	SSHKey     string // file with the private key for ssh; "" = none
	KnownHosts string // file with the servers' keys; "" = the system's. Unknown servers are refused
}

// Git has the mirrors of one directory. It is safe for concurrent use.
type Git struct {
	cfg    Config
	binary string
	env    []string
}

// Open makes cfg.Dir and looks for git.
func Open(cfg Config) (*Git, error) {
	if len(cfg.Protocols) == 0 {
		cfg.Protocols = []string{"https", "ssh"}
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Minute
	}
	for _, p := range cfg.Protocols {
		if !slices.Contains([]string{"https", "http", "ssh", "file"}, p) {
			return nil, fmt.Errorf("git protocol %q: only https, http, ssh and file can be allowed", p)
		}
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("directory of git mirrors: %w", err)
	}
	cfg.Dir = dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("directory of git mirrors: %w", err)
	}
	binary, err := exec.LookPath("git")
	if err != nil {
		return nil, fmt.Errorf("look for git, which has to be installed: %w", err)
	}
	global, err := globalConfig(cfg)
	if err != nil {
		return nil, err
	}
	return &Git{cfg: cfg, binary: binary, env: environment(cfg, binary, global)}, nil
}

// globalConfig is the file that takes the place of the user's. It is empty but
// for local repositories: git reads those of other owners only where the user's
// configuration says so, and who allows "file" means them.
func globalConfig(cfg Config) (string, error) {
	if !slices.Contains(cfg.Protocols, "file") {
		return os.DevNull, nil
	}
	name := filepath.Join(cfg.Dir, "gitconfig")
	if err := os.WriteFile(name, []byte("[safe]\n\tdirectory = *\n"), 0o600); err != nil {
		return "", fmt.Errorf("directory of git mirrors: %w", err)
	}
	return name, nil
}
