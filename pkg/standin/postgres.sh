#!/bin/sh
# Makes a database cluster where there is none, then becomes the server. It reads the
# variables of the official image: POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB, each
# also with _FILE, POSTGRES_INITDB_ARGS, POSTGRES_HOST_AUTH_METHOD and PGDATA.
set -eu

# value NAME [DEFAULT]: of the variable, or what is in the file that NAME_FILE names.
value() {
	eval "plain=\${$1:-} file=\${$1_FILE:-}"
	if [ -n "$file" ]; then plain=$(cat "$file"); fi
	printf '%s' "${plain:-${2:-}}"
}

case ${1:-postgres} in -*) set -- postgres "$@" ;; esac
[ "${1:-postgres}" = postgres ] || exec "$@"

if [ "$(id -u)" = 0 ]; then
	mkdir -p "$PGDATA"
	chmod 700 "$PGDATA"
	find "$PGDATA" \! -user postgres -exec chown postgres '{}' +
	exec su -s /bin/sh postgres "$0" "$@"
fi

if [ ! -s "$PGDATA/PG_VERSION" ]; then
	user=$(value POSTGRES_USER postgres) password=$(value POSTGRES_PASSWORD)
	database=$(value POSTGRES_DB "$user") method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
	if [ -z "$password" ] && [ "$method" != trust ]; then
		echo >&2 "Error: Database is uninitialized and superuser password is not specified."
		echo >&2 "       You must specify POSTGRES_PASSWORD to a non-empty value for the superuser."
		exit 1
	fi
	secret=$(mktemp)
	printf '%s\n' "${password:-none}" >"$secret"
	# shellcheck disable=SC2086 # several arguments
	initdb --username="$user" --pwfile="$secret" --encoding=UTF8 --locale=C --auth=trust --no-sync ${POSTGRES_INITDB_ARGS:-}
	rm "$secret"
	printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"
	printf "listen_addresses = '*'\n" >>"$PGDATA/postgresql.conf"
	if [ "$database" != postgres ]; then
		# In single-user mode nobody can connect yet, and take it for ready.
		printf 'CREATE DATABASE "%s";\n' "$(printf '%s' "$database" | sed 's/"/""/g')" | postgres --single -D "$PGDATA" postgres >/dev/null
	fi
fi
exec "$@"
