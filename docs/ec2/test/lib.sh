# shellcheck shell=bash disable=SC2034 # sourced: who sources it uses them
# The common part of the tests. Sourced by each, in the project's folder.
set -euo pipefail
shopt -s inherit_errexit

EC2=docs/ec2
WORK=$(mktemp -d)
started=()

# Ends what the test started, by its id, and keeps what a failed one left behind.
finish() {
  local code=$? pid
  trap - EXIT
  if declare -F before_finish >/dev/null; then before_finish; fi
  for pid in "${started[@]}"; do
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  if [ "$code" = 0 ]; then
    rm -rf "$WORK"
  else
    printf 'failed; its files are in %s\n' "$WORK" >&2
  fi
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

# equal WHAT EXPECTED SEEN
equal() { [ "$2" = "$3" ] || fail "$1: expected '$2', saw '$3'"; }

# says TEXT COMMAND…: it succeeds, and its output has the text.
says() {
  local text=$1
  shift
  "$@" >"$WORK/output" 2>&1 || fail "$* ended with $?: $(cat "$WORK/output")"
  grep -qF -- "$text" "$WORK/output" || fail "$*: no '$text' in: $(cat "$WORK/output")"
}

# refuses TEXT COMMAND…: it fails, and its output has the text.
refuses() {
  local text=$1
  shift
  ! "$@" >"$WORK/output" 2>&1 || fail "$* succeeded: $(cat "$WORK/output")"
  grep -qF -- "$text" "$WORK/output" || fail "$*: no '$text' in: $(cat "$WORK/output")"
}

# until_true SECONDS COMMAND…: waits for a condition.
until_true() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || fail "not in time: $*"
    sleep 0.1
  done
}

# free_port ADDRESS: one below the range of outgoing connections that nobody listens on.
free_port() {
  python3 - "$1" <<'END'
import random, socket, sys
for port in random.sample(range(20000, 32000), 100):
    with socket.socket() as probe:
        try:
            probe.bind((sys.argv[1], port))
        except OSError:
            continue
        print(port)
        break
END
}
