package standin

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// addPython adds the system's Python and its standard library. One that people put
// before it, such as pyenv's, has no package that says what belongs to it.
func addPython(ctx context.Context, img *image, progress io.Writer) error {
	const program = "/usr/bin/python3"
	if _, err := os.Stat(program); err != nil {
		if err := install(ctx, progress, "python3"); err != nil {
			return fmt.Errorf("no Python on this host: %w", err)
		}
	}
	target, err := filepath.EvalSymlinks(program)
	if err != nil {
		return fmt.Errorf("find Python: %w", err)
	}
	version := filepath.Base(target)                                               // python3.11
	leave := func(path string) bool { return strings.Contains(path, "/config-3") } // for those who embed Python
	if err := img.packages(ctx, leave, version, version+"-minimal", "lib"+version+"-stdlib", "lib"+version+"-minimal", "media-types"); err != nil {
		return err
	}
	for _, name := range []string{"usr/bin/python3", "usr/local/bin/python3", "usr/local/bin/python"} {
		img.link(name, target)
	}
	img.from += " and " + target
	img.env = append(img.env, "LANG=C.UTF-8")
	img.changes = append(img.changes, `CMD ["python3"]`)
	return nil
}

// addCompiler adds gcc for C, make, and what it takes to link with the C library,
// statically as well.
func addCompiler(ctx context.Context, img *image, progress io.Writer) error {
	if !has("gcc", "make", "ld") {
		if err := install(ctx, progress, "gcc", "make", "libc6-dev"); err != nil {
			return fmt.Errorf("no gcc and make on this host: %w", err)
		}
	}
	version, err := askGCC(ctx, "-dumpversion")
	if err != nil {
		return err
	}
	machine, err := askGCC(ctx, "-dumpmachine")
	if err != nil {
		return err
	}
	machine = strings.ReplaceAll(machine, "_", "-") // as packages are called
	leave := func(path string) bool {               // optimization while linking, coverage, and what finds faults at run time
		name := filepath.Base(path)
		return strings.Contains(name, "lto1") || strings.Contains(name, "lto-dump") || strings.Contains(name, "gcov") || strings.HasSuffix(name, "san.a")
	}
	err = img.packages(ctx, leave, "gcc", "gcc-"+version, "gcc-"+version+"-"+machine, "cpp", "cpp-"+version, "cpp-"+version+"-"+machine,
		"libgcc-"+version+"-dev", "binutils", "binutils-"+machine, "libc6-dev", "linux-libc-dev", "libcrypt-dev", "make")
	if err != nil {
		return err
	}
	img.link("usr/bin/cc", "gcc")
	img.from += " and gcc " + version
	return nil
}

func askGCC(ctx context.Context, question string) (string, error) {
	out, err := exec.CommandContext(ctx, "gcc", question).Output()
	if err != nil {
		return "", fmt.Errorf("gcc %s: %w", question, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// has tells whether this host has all the programs.
func has(programs ...string) bool {
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			return false
		}
	}
	return true
}
