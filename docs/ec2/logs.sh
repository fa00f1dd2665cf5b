#!/usr/bin/env bash
# Shows the end of the journal of each machine. LINES=: how many lines of each; SERVICE=: of one
# service (catalog, order@2, frontend).
. "$(dirname "$0")/settings.sh"
. "$(dirname "$0")/remote.sh"

lines=${LINES:-100}
service=${SERVICE:-*}
[[ $lines =~ ^[0-9]+$ ]] || die "LINES=$lines: write a number"
[[ $service =~ ^[a-z0-9@*]+$ ]] ||
  die "SERVICE=$service: write catalog, order@1, order@2, order@3 or frontend"
for ((number = 1; number <= MACHINES; number++)); do
  say "== machine $number, $(public "$number")"
  remote "$number" "sudo journalctl --no-pager --output=short-iso-precise --lines=$lines" \
    "--unit='bazaar-$service'"
done
