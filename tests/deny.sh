#!/bin/sh
# Checks all dependencies against deny.toml: licences, bans and sources; known holes where the
# database of RustSec can be reached. Without cargo-deny it says so; BAZAAR_DENY_REQUIRED=1 makes
# that a failure.
set -eu
cd "$(dirname "$0")/.."
if ! command -v cargo-deny >/dev/null 2>&1; then
  echo "cargo-deny is missing: dependencies are not checked against deny.toml. Install it:" >&2
  echo "  cargo install --locked cargo-deny" >&2
  [ -z "${BAZAAR_DENY_REQUIRED:-}" ] || exit 1
  exit 0
fi
cargo deny --locked check --hide-inclusion-graph bans licenses sources
if timeout 60 cargo deny fetch db >/dev/null 2>&1; then
  cargo deny --locked check --hide-inclusion-graph advisories
else
  echo "advisories skipped: the database https://github.com/RustSec/advisory-db is not reached"
fi
