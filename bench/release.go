package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/millrace-cd/millrace/pkg/delivery"
	"github.com/millrace-cd/millrace/pkg/event"
)

const binarySize = 15 << 20

const releaseFile = `version: 1
name: bench
test:
  unit: { image: "busybox:1.37", run: "true" }
build: { image: "busybox:1.37", run: "true", artifacts: [app, "www/**"] }
release:
  image: bench
  base: busybox:1.37
  files: { app: /app, www/: /www/ }
  entrypoint: [busybox, httpd, -f, -p, "8080", -h, /www]
  ports: [8080]
  ready: { http: ":8080/" }
  acceptance: none
deploy:
  - name: production
    docker: { publish: ["127.0.0.1::8080"] }
    check: [{ http: ":8080/" }]
`

const releaseDockerfile = `FROM busybox:1.37
COPY www /www
COPY app /app
ENTRYPOINT ["busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]
EXPOSE 8080
`

// figures are what was measured of releases.
type figures struct{ image, docker, deploy, run []time.Duration }

// releases measures how long the image of a release takes, from the artifact to its tag
// in the registry with SBOM and statements, beside docker build and docker push of the
// same content; and from its digest to a healthy container, beside docker run.
func releases(ctx context.Context, binary string, rounds int) error {
	var cold, warm figures
	for range rounds {
		if err := releaseRound(ctx, binary, &cold, &warm); err != nil {
			return err
		}
	}
	fmt.Printf("\nrelease of a %d MB binary, medians of %d:\n", binarySize>>20, rounds)
	for _, f := range []struct {
		name string
		figures
	}{{"cold", cold}, {"only the application changed", warm}} {
		fmt.Printf("  %-28s assemble, store, SBOM, sign, publish %5d ms   docker build + push %5d ms   %.2f x\n",
			f.name, median(f.image).Milliseconds(), median(f.docker).Milliseconds(), ratio(median(f.image), median(f.docker)))
		fmt.Printf("  %-28s digest to healthy container         %5d ms   docker run          %5d ms   %.2f x\n",
			"", median(f.deploy).Milliseconds(), median(f.run).Milliseconds(), ratio(median(f.deploy), median(f.run)))
	}
	return nil
}

// releaseRound measures both on a registry and a data directory that are empty at first.
func releaseRound(ctx context.Context, binary string, cold, warm *figures) (err error) {
	m, err := startMillrace(ctx, binary, "bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.stop()) }()
	repo, err := binaryRepository(ctx, m.dir, binary)
	if err != nil {
		return err
	}
	cli := &commandLine{repo: repo, registry: m.registry}
	defer cli.clean()
	for i, f := range []*figures{cold, warm} {
		if err := repo.change(i); err != nil {
			return err
		}
		commit, err := repo.commit(ctx, i)
		if err != nil {
			return err
		}
		if err := sleep(ctx, rest); err != nil {
			return err
		}
		if err := f.ours(ctx, m, repo, commit); err != nil {
			return err
		}
		if err := sleep(ctx, rest); err != nil {
			return err
		}
		if err := f.theirs(ctx, cli, commit, i == 0); err != nil {
			return err
		}
	}
	return nil
}

func (f *figures) ours(ctx context.Context, m *millrace, repo repository, commit string) error {
	facts, err := m.facts(ctx, repo, commit)
	if err != nil {
		return err
	}
	last := facts[len(facts)-1]
	if last.Outcome != event.Succeeded {
		return fmt.Errorf("the delivery ended as %s at %s: %s", last.Outcome, last.StageName, last.Reason)
	}
	root, err := delivery.Trace(ctx, m.bus, last.Number)
	if err != nil {
		return err
	}
	took := spent(root, "assemble image", "publish image", "write SBOM")
	if took == 0 {
		return errors.New("the trace does not tell how long the image took")
	}
	f.image = append(f.image, took)
	f.deploy = append(f.deploy, last.Finished.Sub(last.Started))
	return nil
}

// spent sums up the spans of the release whose names begin so.
func spent(s *delivery.Span, names ...string) (sum time.Duration) {
	if slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(s.Name, n) }) {
		return s.End.Sub(s.Start)
	}
	if strings.HasPrefix(s.Name, "RUN build") {
		return 0
	}
	for _, c := range s.Children {
		sum += spent(c, names...)
	}
	return sum
}

// theirs builds and pushes, cold without what the engine remembers of builds, and then
// runs the image.
func (f *figures) theirs(ctx context.Context, c *commandLine, commit string, cold bool) error {
	tag := c.registry + "/bench-cli:" + commit[:7]
	build := []string{"build", "--quiet", "-f", "Dockerfile.release", "-t", tag, c.repo.dir}
	if cold {
		build = slices.Insert(build, 1, "--no-cache")
	}
	begin := time.Now()
	for _, args := range [][]string{build, {"push", "--quiet", tag}} {
		if _, err := output(ctx, c.repo.dir, "docker", args...); err != nil {
			return err
		}
	}
	f.docker = append(f.docker, time.Since(begin))
	begin = time.Now()
	if err := c.deploy(ctx, c.repo.dir, tag, commit); err != nil {
		return err
	}
	f.run = append(f.run, time.Since(begin))
	return nil
}

// binaryRepository is an app with a binary: the begin of one that is at hand.
func binaryRepository(ctx context.Context, parent, binary string) (repository, error) {
	r := repository{dir: filepath.Join(parent, "release")}
	if err := os.MkdirAll(filepath.Join(r.dir, "www"), 0o755); err != nil {
		return r, err
	}
	data, err := os.ReadFile(binary)
	if err != nil {
		return r, err
	}
	if len(data) < binarySize {
		return r, fmt.Errorf("%s has %d bytes, want %d", binary, len(data), binarySize)
	}
	for name, content := range map[string][]byte{
		"millrace.yaml": []byte(releaseFile), "Dockerfile.release": []byte(releaseDockerfile), ".dockerignore": []byte(".git\n"), "app": data[:binarySize],
	} {
		if err := os.WriteFile(filepath.Join(r.dir, name), content, 0o755); err != nil {
			return r, err
		}
	}
	_, err = output(ctx, r.dir, "git", "init", "--quiet", "--initial-branch=main")
	return r, err
}

// change makes the binary another one.
func (r repository) change(n int) error {
	f, err := os.OpenFile(filepath.Join(r.dir, "app"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(fmt.Appendf(nil, "change %d", n), binarySize/2)
	return errors.Join(err, f.Close())
}
