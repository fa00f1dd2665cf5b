#!/usr/bin/env bash
# Copies binaries, settings with a fresh token, and systemd units to the machines, starts all, and
# waits until the bazaar is open.
here=$(dirname "$0")
. "$here/settings.sh"
. "$here/remote.sh"
. "$here/layout.sh"

# Where the copy waits for its installation; DESTDIR is expanded there.
# shellcheck disable=SC2016
AT='${DESTDIR-}/opt/bazaar/new'

# A machine that has just been made takes a while until it lets anybody in.
wait_for_ssh() {
  local deadline=$((SECONDS + 180)) error
  until error=$(remote "$1" true 2>&1); do
    [[ $error != *'Permission denied'* ]] ||
      die "machine $1 refuses EC2_USER=$EC2_USER with the key $KEY: admin is for Debian, ubuntu" \
        "for Ubuntu, ec2-user for Amazon Linux"
    [[ $error != *'Host key verification failed'* ]] || [ "$EC2_HOST_KEYS" = learn ] ||
      die "the key of machine $1 ($(public "$1")) is not in $EC2_STATE/known_hosts, and" \
        "EC2_HOST_KEYS=known: docs/ec2/README.md says how to get it"
    [[ $error != *'HOST IDENTIFICATION HAS CHANGED'* ]] ||
      die "machine $1 shows another host key than before: if you made it anew, remove" \
        "$EC2_STATE/known_hosts"
    [ "$SECONDS" -lt "$deadline" ] ||
      die "machine $1 ($(public "$1"), port $EC2_SSH_PORT) does not answer: $error. Has your" \
        "address changed? 'make ec2-up' opens the ports to the present one"
    sleep 2
  done
}

# Binaries need the C library that they were linked with, or a newer one, and the same kind of
# processor.
check_binaries() {
  local needed has here_is there_is
  here_is=$(uname -m)
  there_is=$(remote "$1" uname -m)
  [ "$here_is" = "$there_is" ] ||
    die "machine $1 is a $there_is, this one a $here_is: build there with EC2_BUILD=there"
  needed=$(grep -aoh 'GLIBC_[0-9.]*[0-9]' "$BINARIES"/{catalog,order,frontend} |
    sort -uV | tail -n 1)
  needed=${needed#GLIBC_}
  has=$(remote "$1" getconf GNU_LIBC_VERSION)
  has=${has#glibc }
  [ "$(printf '%s\n' "$needed" "$has" | sort -V | head -n 1)" = "$needed" ] ||
    die "the binaries need glibc $needed, machine $1 has $has: build there with" \
      "EC2_BUILD=there, or take a newer image with EC2_IMAGE"
}

copy() {
  local folder
  folder=$stage/$1
  mkdir -p "$folder/bin" "$folder/env"
  cp "$BINARIES/catalog" "$BINARIES/order" "$BINARIES/frontend" "$folder/bin"
  cp -r "$here/units" "$here/install.sh" "$folder"
  [ -z "$EC2_STOCKS" ] || cp "$EC2_STOCKS" "$folder/stocks.csv"
  write_environments "$1" "$folder/env"
  tar -C "$folder" -cz . | remote "$1" "sudo sh -c 'rm -rf $AT && mkdir -p $AT && tar -C $AT -xz'"
}

wait_until_ready() {
  local deadline=$((SECONDS + 60)) answer
  until answer=$(curl -sS --fail-with-body --max-time 5 "$URL/readyz" 2>&1); do
    [ "$SECONDS" -lt "$deadline" ] || die "$URL is not ready: $answer. See 'make ec2-logs'"
    sleep 0.5
  done
}

[ -z "$EC2_STOCKS" ] || [ -f "$EC2_STOCKS" ] ||
  die "EC2_STOCKS=$EC2_STOCKS: there is no such file; docs/ec2/stocks.csv is one"
for ((number = 1; number <= MACHINES; number++)); do wait_for_ssh "$number"; done
if [ "$EC2_BUILD" = there ]; then
  . "$here/build_there.sh"
fi
[ -x "$BINARIES/frontend" ] ||
  die "there is no $BINARIES/frontend: build it with 'make build', or set BINARIES to the" \
    "folder of the binaries"
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
for ((number = 1; number <= MACHINES; number++)); do
  check_binaries "$number"
  copy "$number"
done
# Through a pipe: a token in an argument could be read by every user of a machine, one in a file
# here by anybody who finds it.
token=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
for ((number = 1; number <= MACHINES; number++)); do
  remote "$number" "sudo sh -c 'bash $AT/install.sh && rm -rf $AT'" <<<"$token"
  say "machine $number: installed and started"
done
wait_until_ready
say "The bazaar is open at $URL"
