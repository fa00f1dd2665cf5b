#!/bin/sh
# The entry point of the image that tests/hosts/base-images.sh makes in place of the usual one of
# PostgreSQL. It does what compose.yaml and the tests need of that one: it makes a database from
# POSTGRES_USER, POSTGRES_DB and POSTGRES_PASSWORD in an empty volume, and runs the server as the
# user postgres.
set -eu
data=${PGDATA:-/var/lib/postgresql/data}

if [ "$(id -u)" = 0 ]; then
  mkdir -p "$data" /run/postgresql
  chown postgres:postgres "$data" /run/postgresql
  chmod 700 "$data"
  exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

if [ ! -s "$data/PG_VERSION" ]; then
  # Made aside, so that a start that dies half-way leaves nothing that looks like a database.
  new=$data/new
  rm -rf "$new"
  umask 077
  printf '%s' "$POSTGRES_PASSWORD" >/tmp/password
  initdb --pgdata="$new" --username="$POSTGRES_USER" --pwfile=/tmp/password \
    --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 --locale=C
  rm /tmp/password
  echo 'host all all all scram-sha-256' >>"$new/pg_hba.conf"
  pg_ctl --pgdata="$new" --options="-c listen_addresses=''" --wait start
  createdb --username="$POSTGRES_USER" "$POSTGRES_DB"
  pg_ctl --pgdata="$new" --mode=fast --wait stop
  # The version last: without it the server refuses the folder.
  mv "$new/PG_VERSION" /tmp/
  mv "$new"/* "$data/"
  mv /tmp/PG_VERSION "$data/"
  rmdir "$new"
fi
exec postgres -D "$data" -c listen_addresses='*' "$@"
