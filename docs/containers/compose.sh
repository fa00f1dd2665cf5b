#!/usr/bin/env bash
# Calls compose for the layout that is up: docs/containers/compose.sh ps, logs, exec, kill, down …
set -euo pipefail
cd "$(dirname "$0")/../.."

if docker compose version >/dev/null 2>&1; then
  compose=(docker compose)
elif command -v docker-compose >/dev/null 2>&1; then
  compose=(docker-compose)
else
  echo "compose is missing. Install it (Debian, Ubuntu): apt install docker-compose" >&2
  exit 1
fi
layout=()
# up.sh writes it for the layout with several catalogs.
if [ -e compose-state/ha.env ]; then
  layout=(--env-file compose-state/ha.env --profile ha)
fi
exec "${compose[@]}" "${layout[@]}" "$@"
