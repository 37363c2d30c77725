package standin

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// packages adds the files of packages that are installed on this host, where leave
// does not leave them out, and the libraries that they need. A name that this
// release of Debian does not have is none of its parts.
func (i *image) packages(ctx context.Context, leave func(path string) bool, names ...string) error {
	out, err := exec.CommandContext(ctx, "dpkg-query", append([]string{"--listfiles"}, names...)...).Output()
	if len(out) == 0 {
		return fmt.Errorf("ask dpkg, as Debian and its like have it, for the files of %s: %w", strings.Join(names, ", "), err)
	}
	for path := range strings.Lines(string(out)) {
		path = strings.TrimSpace(path)
		top := strings.Count(path, "/") < 2 // /lib, which may be a link, and a directory here
		if top || !strings.HasPrefix(path, "/") || document(path) || leave(path) {
			continue
		}
		if err := i.same(path); err != nil {
			return err
		}
	}
	return i.libraries(ctx)
}

// document tells whether a file of a package is for people only.
func document(path string) bool {
	for _, kind := range []string{"doc", "man", "info", "locale", "lintian", "bug"} {
		if strings.HasPrefix(path, "/usr/share/"+kind+"/") {
			return true
		}
	}
	return false
}

// same adds a file or link of the host under its own name. A directory is added with
// the first thing in it.
func (i *image) same(path string) error {
	name := strings.TrimPrefix(path, "/")
	found, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist): // the host's owner removed it
		return nil
	case err != nil:
		return err
	case found.Mode().Type() == fs.ModeSymlink:
		target, err := os.Readlink(path)
		if err == nil {
			i.link(name, target)
		}
		return err
	case !found.Mode().IsRegular():
		return nil
	case found.Mode()&0o111 != 0:
		return i.file(name, path, 0o755)
	}
	return i.file(name, path, 0o644)
}

// libraries adds the shared libraries of all that is in the image so far. What the
// host does not have either is for something that does not work there.
func (i *image) libraries(ctx context.Context) error {
	var programs []string
	for _, name := range slices.Sorted(maps.Keys(i.entries)) {
		if source := i.entries[name].source; source != "" && dynamic(source) {
			programs = append(programs, source)
		}
	}
	if len(programs) == 0 {
		return nil
	}
	// Its exit code tells of programs that are for another system, too.
	out, err := exec.CommandContext(ctx, "ldd", programs...).Output()
	if len(out) == 0 {
		return fmt.Errorf("libraries: ldd: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		path := libraryOf(line)
		if path == "" {
			continue
		}
		if err := i.file(strings.TrimPrefix(path, "/"), path, 0o755); err != nil {
			return fmt.Errorf("library: %w", err)
		}
	}
	return nil
}

// libraryOf reads a line of ldd, such as "libz.so.1 => /lib/libz.so.1 (0x7f00)".
func libraryOf(line string) string {
	if before, _, ok := strings.Cut(line, " (0x"); ok {
		if path := before[strings.LastIndexAny(before, " \t")+1:]; strings.HasPrefix(path, "/") {
			return path
		}
	}
	return ""
}

// dynamic tells whether a file is a program or library that needs libraries.
func dynamic(path string) bool {
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	needs, err := f.ImportedLibraries()
	return err == nil && len(needs) > 0
}

// install installs packages where we may.
func install(ctx context.Context, progress io.Writer, packages ...string) error {
	fix := "run apt-get install " + strings.Join(packages, " ")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New("there is no apt-get to install it")
	}
	if os.Geteuid() != 0 {
		return errors.New(fix + " as root")
	}
	say(progress, "installing %s by apt-get", strings.Join(packages, " "))
	err := aptGet(ctx, append([]string{"install", "-y", "--no-install-recommends"}, packages...)...)
	if err != nil && aptGet(ctx, "update") == nil { // a new machine has no lists yet
		err = aptGet(ctx, append([]string{"install", "-y", "--no-install-recommends"}, packages...)...)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", fix, err)
	}
	return nil
}

func aptGet(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-q", "-o", "DPkg::Lock::Timeout=300"}, args...)...)
	cmd.Env = append(cmd.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}
