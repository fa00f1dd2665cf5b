#!/usr/bin/env bash
# All tests of the EC2 scripts: nothing leaves this machine, and each has a bounded time. Called by
# 'make test-ec2'.
set -euo pipefail
tests=$(dirname "$0")

missing=
for pair in shellcheck:shellcheck systemd-analyze:systemd sshd:openssh-server ssh:openssh-client \
  curl:curl python3:python3-venv; do
  PATH=$PATH:/usr/sbin:/sbin command -v "${pair%:*}" >/dev/null || missing+=" ${pair#*:}"
done
if [ -n "$missing" ]; then
  echo "missing for make test-ec2; install them (Debian, Ubuntu): sudo apt install$missing" >&2
  exit 1
fi

# The CLI and its stand-in for AWS, made once and again when their versions change.
if ! cmp -s "$tests/requirements.txt" "$VENV/made-from"; then
  echo "making $VENV with the AWS CLI and moto: about 500 MB"
  rm -rf "$VENV"
  python3 -m venv "$VENV"
  timeout 600 "$VENV/bin/pip" install --quiet --disable-pip-version-check \
    --requirement "$tests/requirements.txt"
  cp "$tests/requirements.txt" "$VENV/made-from"
fi

step() { # step SECONDS COMMAND…
  local start=$SECONDS code=0
  echo "== $2"
  timeout --kill-after=20 "$@" || code=$?
  [ "$code" != 124 ] || echo "took longer than $1 s" >&2
  [ "$code" = 0 ] || exit "$code"
  echo "== took $((SECONDS - start)) s"
}

step 60 shellcheck "$tests"/../*.sh "$tests"/*.sh "$tests"/standins/* "$tests"/here/*
step 60 "$tests/units.sh"
step 600 "$tests/deploy.sh"
step 1800 "$tests/cloud.sh"
echo "the EC2 scripts pass"
