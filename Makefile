# Each target sets up what it needs; `make` alone lists them.
SHELL   := /bin/bash
MODULES  = $(shell go list -m -f '{{.Dir}}')
UNITS    = $(filter-out %/test,$(MODULES))
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
SHORT   :=# SHORT=1 leaves the slow tests out

LINT_VERSION := v2.15.0
LINT         := .bin/golangci-lint-$(LINT_VERSION)

.PHONY: help demo test check lint alone bench images build fmt tidy clean
help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

demo: ## see a commit go all the way to a running container
	@scripts/setup.sh go git docker busybox
	@$(MAKE) --no-print-directory build
	bin/millrace demo

test: ## all tests with the race detector, and end to end on real Docker
	@scripts/setup.sh go git docker busybox gcc docker-registry
	go test -race -count=1 -timeout 15m $(if $(SHORT),-short) $(UNITS:%=%/...)
	go test -race -count=1 -timeout 15m $(if $(SHORT),-short) ./test/...

check: ## what CI runs: lint, test, alone
	@for phase in lint test alone; do \
		echo "=== $$phase"; SECONDS=0; \
		$(MAKE) --no-print-directory $$phase || exit 1; \
		echo "=== $$phase: $$SECONDS s"; \
	done

lint: $(LINT) ## style, and who may import whom
	@scripts/setup.sh go
	$(LINT) run $(MODULES:%=%/...)

alone: ## each module as its image sees it: without go.work
	@scripts/setup.sh go
	@scripts/alone.sh $(MODULES)

bench: ## commit to healthy container, beside git and docker one after another
	@scripts/setup.sh go git docker busybox
	@$(MAKE) --no-print-directory build
	go run ./bench

images: ## the images that docker-compose.yml runs, also without a network
	@scripts/setup.sh go git docker busybox
	deploy/images/make.sh

build: ## the millrace command, into bin/
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/millrace ./cmd/millrace

fmt: $(LINT) ## format as lint wants it
	$(LINT) fmt $(MODULES)

tidy: ## mend what alone complains about
	@for dir in $(MODULES); do (cd $$dir && GOWORK=off go mod tidy) || exit 1; done
	go work sync

clean: ## what make made
	rm -rf .bin bin

$(LINT): # a machine that has this version already need not build it, which takes minutes
	@scripts/setup.sh go
	@mkdir -p .bin
	@if golangci-lint version 2>/dev/null | grep -qF ' $(LINT_VERSION:v%=%) '; then \
		ln -sf "$$(command -v golangci-lint)" $@; \
	else \
		echo "building golangci-lint $(LINT_VERSION), once" && \
		GOBIN=$(CURDIR)/.bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION) && \
		mv .bin/golangci-lint $@; \
	fi
