package standin

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// entrypoint does what that of the official image does.
//
//go:embed postgres.sh
var entrypoint string

// postgresUser owns the data, under the number that it has in the official image.
const postgresUser = 999

// addPostgres adds the newest PostgreSQL of this host.
func addPostgres(ctx context.Context, img *image, progress io.Writer) error {
	dir := newestPostgres()
	if dir == "" {
		if err := installPostgres(ctx, progress); err != nil {
			return fmt.Errorf("no PostgreSQL on this host: %w", err)
		}
		if dir = newestPostgres(); dir == "" {
			return errors.New("no PostgreSQL in /usr/lib/postgresql after its installation")
		}
	}
	version := filepath.Base(dir)
	leave := func(path string) bool { // compilation of queries, which LLVM would come with, and building extensions
		return strings.Contains(path, "/bitcode/") || strings.Contains(path, "/llvmjit") || strings.Contains(path, "/pgxs/") || strings.Contains(path, "/man/")
	}
	if err := img.packages(ctx, leave, "postgresql-"+version, "postgresql-client-"+version, "tzdata"); err != nil {
		return err
	}
	img.text("etc/passwd", fmt.Sprintf("%spostgres:x:%d:%d::/var/lib/postgresql:/bin/sh\n", img.entries["etc/passwd"].text, postgresUser, postgresUser))
	img.text("etc/group", fmt.Sprintf("%spostgres:x:%d:\n", img.entries["etc/group"].text, postgresUser))
	img.script("usr/local/bin/docker-entrypoint.sh", entrypoint)
	for name, mode := range map[string]os.FileMode{"var/lib/postgresql": 0o1777, "var/lib/postgresql/data": 0o1777, "var/run/postgresql": 0o3777} {
		img.dir(name, mode)
		img.own(name, postgresUser)
	}
	img.from += " and " + dir
	img.path = []string{dir + "/bin"}
	img.env = append(img.env, "PGDATA=/var/lib/postgresql/data", "PG_MAJOR="+version)
	img.changes = append(img.changes, `ENTRYPOINT ["docker-entrypoint.sh"]`, `CMD ["postgres"]`, "EXPOSE 5432")
	return nil
}

// newestPostgres is such as /usr/lib/postgresql/15, or "".
func newestPostgres() (newest string) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres") // the pattern is right
	best := 0
	for _, program := range found {
		dir := filepath.Dir(filepath.Dir(program))
		if version, err := strconv.Atoi(filepath.Base(dir)); err == nil && version > best {
			best, newest = version, dir
		}
	}
	return newest
}

// installPostgres installs the programs. Debian would start a server besides, which
// nobody asked for.
func installPostgres(ctx context.Context, progress io.Writer) error {
	const dir = "/etc/postgresql-common/createcluster.d"
	if os.Geteuid() == 0 {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		no := filepath.Join(dir, "millrace.conf")
		if err := os.WriteFile(no, []byte("create_main_cluster = false\n"), 0o644); err != nil {
			return err
		}
		defer func() { _, _ = os.Remove(no), os.Remove(dir) }() // the directory, if nobody else uses it
	}
	return install(ctx, progress, "postgresql")
}
