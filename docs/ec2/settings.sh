# shellcheck shell=bash disable=SC2034 # sourced: who sources it uses them
# Settings of all scripts here, each an environment variable or given to make: make ec2-up
# EC2_TYPE=t3a.large.
set -euo pipefail
shopt -s inherit_errexit

say() { printf '%s\n' "$*"; }
die() { printf 'ec2: %s\n' "$*" >&2; exit 1; }

# need COMMAND HOW: ends with the remedy when a command is missing.
need() { command -v "$1" >/dev/null 2>&1 || die "$1 is missing. Install it: $2"; }

# Tags and names all that is made, so that it is found again and nothing else is touched.
: "${EC2_NAME:=bazaar}"
case $EC2_NAME in
  *[!A-Za-z0-9-]*) die "EC2_NAME=$EC2_NAME: write letters, digits and dashes" ;;
esac

# Private key, list of machines, settings of ec2-up; not in git.
: "${EC2_STATE:=ec2-state/$EC2_NAME}"
# The machines, one a line: number, public address, address that the other services use.
HOSTS=$EC2_STATE/hosts
KEY=$EC2_STATE/key

# The settings of ec2-up hold for all that follows, unless they are given anew. The file is read,
# never evaluated: a name outside the list (bash would run the index of an "array") and a value with
# other characters are refused.
KEPT='EC2_REGION EC2_TYPE EC2_MACHINES EC2_PORT EC2_IMAGE EC2_USER EC2_SSH_PORT EC2_DISK_GB'
made_in=
if [ -f "$EC2_STATE/settings" ]; then
  while IFS='=' read -r name value; do
    case " $KEPT " in
      *" $name "*) ;;
      *) die "$EC2_STATE/settings: '$name' is no setting that is kept there: remove that line" ;;
    esac
    [[ $value =~ ^[A-Za-z0-9._-]*$ ]] ||
      die "$EC2_STATE/settings: $name=$value: write letters, digits, dots, dashes and" \
        "underscores"
    [ -n "${!name-}" ] || printf -v "$name" %s "$value"
    [ "$name" != EC2_REGION ] || made_in=$value
  done <"$EC2_STATE/settings"
fi

: "${EC2_REGION:=us-east-1}"
: "${EC2_TYPE:=m5a.xlarge}"
# 1: everything on one machine; 3: one replica on each, catalog and front-end on the first.
: "${EC2_MACHINES:=1}"
# Who may reach ports 22 and EC2_PORT, an IPv4 range; empty: the caller's address alone.
: "${EC2_ALLOW:=}"
: "${EC2_PORT:=8080}"   # the public API
: "${EC2_IMAGE:=}"      # machine image; empty: the newest Debian 13 for amd64, by Debian
# Who logs in there: admin on Debian, ubuntu on Ubuntu, ec2-user on Amazon Linux.
: "${EC2_USER:=admin}"
: "${EC2_SSH_PORT:=22}"
: "${EC2_DISK_GB:=16}"
# learn: a machine's key is taken as it is first seen; known: only keys in $EC2_STATE/known_hosts.
: "${EC2_HOST_KEYS:=learn}"
: "${EC2_PRICE:=}"      # USD per hour of one machine; empty: known for m5a.xlarge in us-east-1 only
: "${EC2_BUILD:=here}"  # where the binaries are built: here, or on the first machine (there)
# More settings of the services: EC2_SET='FRONTEND_CACHE=off BAZAAR_LOG=debug'.
: "${EC2_SET:=}"
# CSV file of the stocks that a new bazaar starts with, as CATALOG_STOCKS wants it; empty: 100 of
# each of 14.
: "${EC2_STOCKS:=}"
: "${BINARIES:=target/release}" # what is copied

[ "${made_in:-$EC2_REGION}" = "$EC2_REGION" ] ||
  die "EC2_REGION=$EC2_REGION, but $EC2_NAME was made in $made_in: run 'make ec2-down" \
    "EC2_REGION=$made_in' first, or set EC2_NAME to make another"
[[ $EC2_REGION =~ ^[a-z0-9-]+$ ]] || die "EC2_REGION=$EC2_REGION: write a region such as us-east-1"
[[ $EC2_ALLOW =~ ^([0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2})?$ ]] ||
  die "EC2_ALLOW=$EC2_ALLOW: write an IPv4 range such as 203.0.113.7/32"
case $EC2_MACHINES in 1 | 3) ;; *) die "EC2_MACHINES=$EC2_MACHINES: write 1 or 3" ;; esac
case $EC2_BUILD in here | there) ;; *) die "EC2_BUILD=$EC2_BUILD: write here or there" ;; esac
case $EC2_HOST_KEYS in
  learn | known) ;;
  *) die "EC2_HOST_KEYS=$EC2_HOST_KEYS: write learn or known" ;;
esac
for name in EC2_PORT EC2_SSH_PORT EC2_DISK_GB; do
  [[ ${!name} =~ ^[0-9]+$ ]] || die "$name=${!name}: write a number"
done
[[ $EC2_TYPE =~ ^[a-z0-9.-]+$ ]] || die "EC2_TYPE=$EC2_TYPE: write a type such as m5a.xlarge"
[[ $EC2_IMAGE =~ ^(ami-[a-z0-9]+)?$ ]] ||
  die "EC2_IMAGE=$EC2_IMAGE: write an image such as ami-0123456789abcdef0"
# ssh would take a user that begins with a dash for an option.
[[ $EC2_USER =~ ^[a-z_][a-z0-9_-]*$ ]] || die "EC2_USER=$EC2_USER: write a login name such as admin"
