#!/usr/bin/env bash
# The evaluation: clients here, the bazaar there; replicas are killed and brought back over ssh.
here=$(dirname "$0")
. "$here/settings.sh"
. "$here/remote.sh"

curl -sSf --max-time 5 -o /dev/null "$URL/readyz" ||
  die "$URL is not ready: run 'make ec2-deploy', or see 'make ec2-logs'"

# Server-side times and the cache's names are on the internal listener, which only a tunnel reaches,
# and only with the token.
tunnel=$((20000 + RANDOM % 12000))
remote 1 -N -o ExitOnForwardFailure=yes -o ServerAliveInterval=15 \
  -L "127.0.0.1:$tunnel:$(internal 1):7000" &
tunnel_pid=$!
trap 'kill "$tunnel_pid" 2>/dev/null || true' EXIT
deadline=$((SECONDS + 20))
until curl -sf --max-time 5 -o /dev/null "http://127.0.0.1:$tunnel/livez"; do
  kill -0 "$tunnel_pid" 2>/dev/null ||
    die "no tunnel to $(public 1): is port $tunnel in use here? Run this again"
  [ "$SECONDS" -lt "$deadline" ] ||
    die "the front-end's internal listener does not answer: see 'make ec2-logs'"
  sleep 0.2
done
BAZAAR_TOKEN=$(remote 1 \
  "sudo sh -c 'sed -n s/^BAZAAR_TOKEN=//p \${DESTDIR-}/etc/bazaar/frontend.env'")
export BAZAAR_TOKEN

goal="eval"
[ -z "${QUICK-}" ] || goal=eval-quick
make "$goal" "URL=$URL" "INTERNAL=http://127.0.0.1:$tunnel" \
  "FRONTEND=$here/cache.sh {cache} {size}" \
  "KILL=$here/service.sh kill" "RESTART=$here/service.sh restart" \
  "PAUSE=$here/service.sh pause" "RESUME=$here/service.sh resume" \
  "VERIFY=$here/verify.sh || true" "DUMP=$here/dump.sh" || {
  "$here/cache.sh" on || true
  die "the evaluation failed, see above; a service that it left down or paused comes back with" \
    "'make ec2-deploy'"
}
"$here/cache.sh" on
"$here/verify.sh"
