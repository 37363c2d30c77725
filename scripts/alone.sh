#!/usr/bin/env bash
# alone.sh MODULE_DIR... looks at each module as its image sees it, without go.work.
#
# It must be tidy, build, pass vet, and take its dependencies in the very versions that
# the workspace tests it with: otherwise one thing is tested and another one shipped.
set -euo pipefail
export GOPROXY=${GOPROXY:-$(go env GOPROXY)}
GOPROXY=${GOPROXY%,direct} # a version that the proxy lacks: say so, do not ask its home

# versions lists the modules of others that the packages here are built and tested with.
versions() { go list -deps -test -f '{{with .Module}}{{if not (or .Main .Replace)}}{{.Path}} {{.Version}}{{end}}{{end}}' ./... | sort -u; }

for dir; do
	cd "$dir"
	echo "alone: ${dir#"$(dirname "$(go env GOWORK)")"/}"
	GOWORK=off go mod tidy -diff
	GOWORK=off go build -o /dev/null ./...
	GOWORK=off go vet ./...
	diff --label 'in the workspace' <(versions) --label 'alone' -u <(GOWORK=off versions) || {
		echo "alone: the versions differ; run: make tidy" >&2
		exit 1
	}
done
