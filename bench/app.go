package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// image is what all steps of the app run in; a small one, so that figures tell of
// the machinery and not of the app.
const image = "busybox:1.37"

const pipelineFile = `version: 1
name: bench
test:
  unit: { image: "busybox:1.37", run: "grep -q hello www/index.html" }
build:
  image: busybox:1.37
  run: mkdir -p dist && cp /bin/busybox dist/busybox && cp -r www dist/www
  artifacts: [dist/busybox, "dist/www/**"]
release:
  image: bench
  base: scratch
  files: { dist/busybox: /busybox, dist/www/: /www/ }
  entrypoint: [/busybox, httpd, -f, -p, "8080", -h, /www]
  ports: [8080]
  ready: { http: ":8080/" }
  acceptance:
    smoke: { image: "busybox:1.37", run: "wget -q -O - http://app:8080/ | grep -q hello" }
deploy:
  - name: production
    docker: { publish: ["127.0.0.1::8080"] }
    check: [{ http: ":8080/" }]
`

const dockerfile = `FROM scratch
COPY dist/busybox /busybox
COPY dist/www /www
ENTRYPOINT ["/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]
EXPOSE 8080
`

// repository is the app's.
type repository struct{ dir string }

func newRepository(ctx context.Context, parent string) (repository, error) {
	r := repository{dir: filepath.Join(parent, "app")}
	if err := os.MkdirAll(filepath.Join(r.dir, "www"), 0o755); err != nil {
		return r, err
	}
	for name, content := range map[string]string{"millrace.yaml": pipelineFile, "Dockerfile": dockerfile} {
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte(content), 0o644); err != nil {
			return r, err
		}
	}
	_, err := output(ctx, r.dir, "git", "init", "--quiet", "--initial-branch=main")
	return r, err
}

// commit makes the next commit and returns its hash.
func (r repository) commit(ctx context.Context, n int) (string, error) {
	page := fmt.Appendf(nil, "hello %d\n", n)
	if err := os.WriteFile(filepath.Join(r.dir, "www", "index.html"), page, 0o644); err != nil {
		return "", err
	}
	if _, err := output(ctx, r.dir, "git", "add", "--all"); err != nil {
		return "", err
	}
	if _, err := output(ctx, r.dir, "git", "-c", "user.name=bench", "-c", "user.email=bench@example.com", "commit", "--quiet", "-m", string(page)); err != nil {
		return "", err
	}
	return output(ctx, r.dir, "git", "rev-parse", "HEAD")
}
