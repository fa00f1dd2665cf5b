#!/usr/bin/env bash
# Builds the image, makes the secrets where there are none, starts all services, and waits until the
# bazaar is open. Run it again after a change of the code: it replaces what changed.
#
#   HA=1              PostgreSQL, two catalogs and two front-ends
#   BAZAAR_BUILD=     flags of 'docker build', such as '--network host'
#   BAZAAR_PUBLISH=   where the public API is on this machine; unset: 127.0.0.1:8080
set -euo pipefail
cd "$(dirname "$0")/../.."

umask 077
mkdir -p compose-state
secret() { # secret FILE: a random secret, made once
  [ -s "$1" ] || head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$1"
}
secret compose-state/token
# A service's user is not the one who made the file, and compose mounts the file as it is. The
# folder keeps others of this machine out.
chmod 444 compose-state/token

if [ -n "${HA:-}" ]; then
  secret compose-state/postgres-password
  password=$(cat compose-state/postgres-password)
  cat >compose-state/ha.env <<END
CATALOG_URL=http://catalog:7100,http://catalog2:7100
CATALOG_DB=postgres://bazaar@postgres:5432/bazaar
POSTGRES_PASSWORD=$password
END
elif [ -e compose-state/ha.env ]; then
  echo "the layout with several catalogs is up: 'make compose-up HA=1' starts it again," >&2
  echo "'make compose-down' ends it; then remove compose-state/ha.env to change the layout" >&2
  exit 1
fi

# shellcheck disable=SC2086 # several flags are several words
docker build ${BAZAAR_BUILD:-} --tag "${BAZAAR_IMAGE:-bazaar:latest}" .
compose=docs/containers/compose.sh
"$compose" up --detach --remove-orphans

for _ in $(seq 90); do
  if "$compose" exec -T frontend bazaar healthcheck http://127.0.0.1:8080/readyz \
    >compose-state/ready 2>&1; then
    echo "The bazaar is open at http://${BAZAAR_PUBLISH:-127.0.0.1:8080}"
    exit 0
  fi
  sleep 1
done
echo "the bazaar is not open after 90 s: $(tail -n 1 compose-state/ready)" >&2
"$compose" ps >&2
"$compose" logs --tail=5 >&2
exit 1
