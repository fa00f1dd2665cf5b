#!/usr/bin/env bash
# Compares the replicas' files on all machines: exit code 1 when one is damaged, or their canonical
# copies differ.
. "$(dirname "$0")/settings.sh"
. "$(dirname "$0")/remote.sh"

all=
# shellcheck disable=SC2016
logs='${DESTDIR-}/var/lib/bazaar-order-*/order*.db'
for ((number = 1; number <= MACHINES; number++)); do
  # The pattern is root's to expand: nobody else may look into the folders. Files that differ are
  # judged below, with those of all.
  answer=$(remote "$number" \
    "sudo sh -c '\${DESTDIR-}/opt/bazaar/bin/order verify $logs || true'")
  printf "== machine %s\n%s\n" "$number" "$answer"
  all+=$answer$'\n'
done
files=$(grep -c '/order[1-3]\.db: ' <<<"$all") || die 'no files were found: is the bazaar deployed?'
summaries=$(grep -o ': orders [0-9]* last_hash .*' <<<"$all") || die 'no file could be read'
[ "$(wc -l <<<"$summaries")" = "$files" ] || die 'a file could not be read'
[ "$(sort -u <<<"$summaries" | wc -l)" = 1 ] || die 'the files differ'
say "all $files replicas have the same file"
