#!/usr/bin/env bash
# make.sh makes the images that docker-compose.yml runs, with a network or without one.
#
#   millrace:dev, millrace-tester:dev    of deploy/Dockerfile, with a binary built here
#   nats:2.15-alpine, registry:3         had already, else pulled, else stand-ins
#
# A stand-in is busybox and the server's program, laid out as the official image is as far
# as docker-compose.yml can tell; its label org.millrace.standin says that it is one. What
# takes long to build is kept in ~/.cache/millrace-images. MILLRACE_VERSION sets the tag;
# MILLRACE_OFFLINE=1 does not even try to pull.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/../.."
tag=${MILLRACE_VERSION:-dev}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/millrace-images
mkdir -p "$cache"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
docker buildx version >/dev/null 2>&1 || export DOCKER_BUILDKIT=0 # the classic builder will do

main() {
	binary
	# What stands below "images" in the Dockerfile, with /out from here.
	{ grep '^ARG GIT_IMAGE' deploy/Dockerfile; sed -n '/^# ---- images/,$p' deploy/Dockerfile; } |
		sed 's/--from=build //' >"$work/Dockerfile"
	build service "millrace:$tag"
	local git
	git=$(git_image)
	build tester "millrace-tester:$tag" --build-arg "GIT_IMAGE=$git"
	third_party nats:2.15-alpine nats
	third_party registry:3 registry
}

# binary builds what the Dockerfile's first stage builds.
binary() {
	mkdir -p "$work/out/etc/ssl/certs" "$work/out/tmp"
	chmod 1777 "$work/out/tmp"
	cp -L /etc/ssl/certs/ca-certificates.crt "$work/out/etc/ssl/certs/"
	(cd cmd/millrace && GOWORK=off CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$tag" -o "$work/out/millrace" .)
}

build() {
	local target=$1 image=$2 old
	shift 2
	old=$(docker image inspect -f '{{.Id}}' "$image" 2>/dev/null) || old=
	docker build -q --target "$target" -t "$image" "$@" "$work" 2>"$work/log" >/dev/null || { cat "$work/log" >&2; return 1; }
	echo "$image"
	# What had the tag before is of no use without it, unless it has another one.
	[ -z "$old" ] || [ "$(docker image inspect -f '{{.RepoTags}}' "$old")" != '[]' ] || docker image rm "$old" >/dev/null 2>&1 || true
}

has() { docker image inspect "$1" >/dev/null 2>&1; }
real() { has "$1" && [ "$(docker image inspect -f '{{index .Config.Labels "org.millrace.standin"}}' "$1")" != true ]; }
pull() { [ "${MILLRACE_OFFLINE:-}" != 1 ] && timeout 120 docker pull -q "$1" >/dev/null 2>&1; }

# git_image names an image with git for the tester: Debian's, else one of this machine's git.
git_image() {
	local debian standin
	debian=$(sed -n 's/^ARG GIT_IMAGE=//p' deploy/Dockerfile)
	if real "$debian" || pull "$debian"; then
		echo "$debian"
		return
	fi
	standin=millrace-git:$({ git --version; ssh -V; cat deploy/images/make.sh; } 2>&1 | sha256sum | cut -c1-12)
	has "$standin" || {
		root "$work/git"
		add "$work/git" "$(command -v git)" "$(git --exec-path)/git-remote-http" "$(command -v ssh)"
		ln -s git-remote-http "$work/git$(git --exec-path)/git-remote-https"
		ln -s "$(command -v git)" "$work/git$(git --exec-path)/git"
		ln -s "$(command -v git)" "$work/git/bin/git-upload-pack" # what a file URL is fetched with
		mkdir -p "$work/git/usr/share/git-core/templates"
		standin "$standin" "$work/git"
	}
	echo "$standin"
}

# third_party IMAGE NAME gets somebody else's image, or makes its stand-in.
third_party() {
	real "$1" || pull "$1" || has "$1" || {
		root "$work/$2"
		"$2" "$1" "$work/$2"
	}
	echo "$1"
}

nats() {
	local version=v2.15.2 program
	program=$cache/nats-server-$version
	[ -x "$program" ] || go_install "github.com/nats-io/nats-server/v2@$version" nats-server "$program"
	cp "$program" "$2/bin/nats-server"
	standin "$1" "$2" 'EXPOSE 4222 8222' 'CMD ["nats-server","-js"]'
}

registry() {
	local program=$cache/docker-registry
	[ -x "$program" ] || debian_registry "$program" ||
		go_install github.com/distribution/distribution/v3/cmd/registry@v3.1.2 registry "$program"
	add "$2" "$program"
	mv "$2$program" "$2/bin/registry"
	mkdir -p "$2/etc/distribution" "$2/var/lib/registry"
	cat >"$2/etc/distribution/config.yml" <<-YAML
		version: 0.1
		storage:
		  filesystem: { rootdirectory: /var/lib/registry }
		  delete: { enabled: true }
		http: { addr: ":5000" }
	YAML
	standin "$1" "$2" 'EXPOSE 5000' 'VOLUME /var/lib/registry' 'ENTRYPOINT ["registry","serve"]' 'CMD ["/etc/distribution/config.yml"]'
}

# debian_registry takes Docker Distribution from Debian's archive, seconds instead of minutes.
debian_registry() {
	(cd "$work" && apt-get download -qq docker-registry && dpkg -x docker-registry_*.deb deb) >/dev/null 2>&1 &&
		cp "$work/deb/usr/bin/docker-registry" "$1"
}

go_install() {
	echo "building $2 of $1, once" >&2
	(cd / && CGO_ENABLED=0 GOFLAGS=-trimpath GOBIN="$work/gobin" go install "$1")
	mv "$work/gobin/$2" "$3"
}

# root lays out the tree of a stand-in: a static busybox under all its names.
root() {
	local busybox name
	busybox=$(command -v busybox) || { echo "make.sh: no busybox; run: apt-get install busybox-static" >&2; return 1; }
	mkdir -p "$1"/{bin,dev,etc/ssl/certs,proc,root,run,sys,tmp,usr/bin,var}
	chmod 1777 "$1/tmp"
	cp "$busybox" "$1/bin/busybox"
	for name in $("$busybox" --list); do
		[ "$name" = busybox ] || ln -s busybox "$1/bin/$name"
	done
	cp -L /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/"
	printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$1/etc/passwd"
	printf 'root:x:0:\nnogroup:x:65534:\n' >"$1/etc/group"
}

# add ROOT FILE... copies programs of this machine and the libraries that they need.
add() {
	local root=$1 file
	shift
	for file in "$@" $(ldd "$@" 2>/dev/null | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// && $1 !~ /:$/ { print $1 }' | sort -u); do
		mkdir -p "$root$(dirname "$file")"
		cp -L --remove-destination "$file" "$root$file"
	done
}

# standin IMAGE ROOT INSTRUCTION... makes an image of a tree, the same bytes each time.
standin() {
	local image=$1 root=$2 change=(--change 'LABEL org.millrace.standin=true' --change 'ENV PATH=/bin:/usr/bin') line
	shift 2
	for line; do change+=(--change "$line"); done
	tar -C "$root" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -c . |
		docker import "${change[@]}" - "$image" >/dev/null
}

main
