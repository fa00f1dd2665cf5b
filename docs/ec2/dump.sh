#!/usr/bin/env bash
# Prints the log of replica 1 as CSV.
. "$(dirname "$0")/settings.sh"
. "$(dirname "$0")/remote.sh"

# Expanded there.
# shellcheck disable=SC2016
file='${DESTDIR-}/var/lib/bazaar-order-1/order1.db'
remote 1 "sudo sh -c '\${DESTDIR-}/opt/bazaar/bin/order dump $file'"
