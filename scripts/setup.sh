#!/usr/bin/env bash
# setup.sh NEED... makes this machine ready: go, git, make, gcc, busybox, docker, docker-registry.
#
# What is there already is left alone, so that a second run does nothing and takes no time.
# What is missing is installed from Debian's archive where we are root; otherwise we say
# what to run. A stopped Docker Engine is started. Every failure ends with one line that
# names the fix.
set -euo pipefail

say() { echo "setup: $*" >&2; }
die() { say "$*"; exit 1; }

# package NEED: the Debian packages that bring it.
package() {
	case $1 in
		docker) echo docker.io ca-certificates ;;
		gcc) echo gcc libc6-dev ;; # the race detector is linked by it
		git) echo git openssh-client ca-certificates ;;
		busybox) echo busybox-static ;; # what stand-in images are made of, where none can be pulled
		*) echo "$1" ;;
	esac
}

present() {
	case $1 in
		docker) command -v docker >/dev/null && { command -v dockerd >/dev/null || [ -n "${DOCKER_HOST:-}" ] || answers; } ;;
		busybox) command -v busybox >/dev/null && ! ldd "$(command -v busybox)" >/dev/null 2>&1 || ! can_install ;; # a static one; only useful
		*) command -v "$1" >/dev/null ;;
	esac
}

can_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

install() {
	local packages=() need
	for need; do
		# shellcheck disable=SC2207 # package names hold no blanks
		packages+=($(package "$need"))
	done
	command -v apt-get >/dev/null || die "missing: $*. Install with your system's package manager."
	can_install || die "missing: $*. Run: sudo apt-get install -y ${packages[*]}"
	say "installing ${packages[*]}"
	apt_install "${packages[@]}" 2>/dev/null || { apt_get update && apt_install "${packages[@]}"; } ||
		die "apt-get could not install ${packages[*]}; its messages are above"
	hash -r
	[[ " $* " != *" docker "* ]] || command -v docker >/dev/null || apt_install docker-cli # its own package since Debian 13
}

apt_get() { DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@" </dev/null >/dev/null; }
apt_install() { apt_get install -y --no-install-recommends "$@"; }

# The engine is asked over its own socket, the one that the Go client uses as well.
host=${DOCKER_HOST:-unix:///var/run/docker.sock}
socket=${host#unix://}

# answers tells whether an engine answers at host; what it said instead is in complaint.
answers() {
	case $host in
		unix://*)
			[ -S "$socket" ] || { complaint="there is no socket $socket"; return 1; }
			[ -w "$socket" ] || { complaint="permission denied"; return 1; }
			;;
	esac
	complaint=$(DOCKER_HOST=$host docker version --format '{{.Server.Version}}' 2>&1 >/dev/null)
}

engine() {
	answers && return
	[ -z "${DOCKER_HOST:-}" ] || die "no Docker Engine answers at DOCKER_HOST=$host ($complaint). Start that engine, or unset DOCKER_HOST to use the one of this machine."
	case $complaint in
		*"permission denied"*) die "Docker's socket $socket is not open to user $(id -un). Run: sudo usermod -aG docker $(id -un), then log in again." ;;
	esac
	[ "$(id -u)" = 0 ] || die "no Docker Engine answers at $socket ($complaint). Run: sudo systemctl start docker"
	start
}

# start tries the service manager, and where there is none (as in a container) dockerd itself.
start() {
	local log=${TMPDIR:-/tmp}/millrace-dockerd.log
	say "starting Docker Engine"
	if [ -d /run/systemd/system ]; then
		systemctl start docker >"$log" 2>&1 || true
	elif [ -x /etc/init.d/docker ]; then
		service docker start >"$log" 2>&1 </dev/null || true
	fi
	! await 50 || return 0
	if [ ! -d /run/systemd/system ] && command -v dockerd >/dev/null; then
		setsid dockerd >"$log" 2>&1 </dev/null &
		! await 150 || return 0
	fi
	tail -n 3 "$log" >&2 || true
	die "no Docker Engine answers at $socket and none could be started here (log: $log). Containers need privileges for that; set DOCKER_HOST to an engine elsewhere."
}

# await N asks for at most N fifths of a second, less where no dockerd has come up.
await() {
	local n
	for ((n = 0; n < $1; n++)); do
		! answers || return 0
		[ "$n" -lt 10 ] || [ -e /var/run/docker.pid ] || return 1
		sleep 0.2
	done
	return 1
}

# Go is the one thing that we do not install: Debian's is older than what we need.
golang() {
	command -v go >/dev/null || die "Go is missing. Install Go 1.26 or later: https://go.dev/doc/install"
	local version
	version=$(go env GOVERSION 2>/dev/null) || version=$(cd / && go env GOVERSION) # here, go.work may fetch a newer one
	[[ $version =~ ^go1\.([0-9]+) && ${BASH_REMATCH[1]} -ge 26 ]] || die "Go is $version. Install Go 1.26 or later: https://go.dev/doc/install"
}

# The registry that tests start is taken out of Debian's package, into .bin: installed, it would run from
# then on and hold port 5000.
registry() {
	local bin dir
	bin=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/.bin
	! command -v docker-registry >/dev/null && [ ! -x "$bin/docker-registry" ] || return 0
	command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || die "missing: docker-registry, of CNCF Distribution. Put it on the PATH."
	say "fetching docker-registry"
	dir=$(mktemp -d) && mkdir -p "$bin"
	# shellcheck disable=SC2064 # the directory of now
	trap "rm -rf '$dir'" EXIT
	(cd "$dir" && { download 2>/dev/null || { ! can_install || apt_get update; download; }; } && dpkg-deb -x docker-registry_*.deb .) ||
		die "apt-get could not download docker-registry; its messages are above. If its lists are old, run: sudo apt-get update"
	command install -m 755 "$dir/usr/bin/docker-registry" "$bin/docker-registry.new"
	mv "$bin/docker-registry.new" "$bin/docker-registry"
}

download() { apt_get download docker-registry; }

missing=()
for need in "$@"; do
	case $need in
		go | docker-registry) ;;
		*) present "$need" || missing+=("$need") ;;
	esac
done
[ ${#missing[@]} = 0 ] || install "${missing[@]}"
for need in "$@"; do
	case $need in
		go) golang ;;
		docker) engine ;;
		docker-registry) registry ;;
	esac
done
