#!/usr/bin/env bash
# Makes the images that the Dockerfile and compose.yaml begin with, from Debian packages and the
# Rust toolchain of this machine, under the names that they have there: for an engine that reaches
# no image registry. An image that exists or can be fetched is left alone. It prints the name of
# each image that it made.
#
# Needs root (or sudo), debootstrap, and the pinned toolchain.
set -euo pipefail
cd "$(dirname "$0")/../.."

engine=${BAZAAR_ENGINE:-docker}
mirror=${BAZAAR_DEBIAN_MIRROR:-http://deb.debian.org/debian}
[ "$(id -u)" = 0 ] && as_root=() || as_root=(sudo)

base_of() { # base_of STAGE: the image that the Dockerfile's stage begins with
  sed -n "s/^FROM \([^ ]*\) AS $1\$/\1/p" Dockerfile
}
builder=$(base_of dependencies)
runtime=$(base_of bazaar)
database=$(sed -n 's/^ *image: \(postgres:.*\)$/\1/p' compose.yaml)
if [ -z "$builder" ] || [ -z "$runtime" ] || [ -z "$database" ]; then
  echo "the Dockerfile has no stages 'dependencies' and 'bazaar' with a base image," >&2
  echo "or compose.yaml no image of PostgreSQL" >&2
  exit 1
fi

missing() { # missing IMAGE
  ! "$engine" image inspect "$1" >/dev/null 2>&1
}
all_there=1
for image in "$builder" "$runtime" "$database"; do
  if missing "$image"; then
    timeout 300 "$engine" pull --quiet "$image" >/dev/null 2>&1 || all_there=
  fi
done
[ -z "$all_there" ] || exit 0
if ! command -v debootstrap >/dev/null 2>&1 && ! [ -x /usr/sbin/debootstrap ]; then
  echo "debootstrap is missing. Install it (Debian, Ubuntu): apt install debootstrap" >&2
  exit 1
fi

work=$(mktemp -d "${TMPDIR:-/var/tmp}/bazaar-base.XXXXXX")
trap '"${as_root[@]}" rm -rf "$work"' EXIT
PATH=$PATH:/usr/sbin:/sbin

# debootstrap's progress is of interest only when it fails.
bootstrap() { # bootstrap FOLDER INCLUDED_PACKAGES
  "${as_root[@]}" mkdir -p "$work/packages"
  "${as_root[@]}" debootstrap --variant=minbase --cache-dir="$work/packages" \
    ${2:+--include="$2"} bookworm "$1" "$mirror" \
    >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; return 1; }
  # As Debian's slim images: no lists, no downloaded packages, no documentation.
  "${as_root[@]}" rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/* "$1"/usr/share/doc/* \
    "$1"/usr/share/man/* "$1"/usr/share/locale/*
}

import() { # import FOLDER IMAGE CHANGE…
  local folder=$1 image=$2 changes=() change
  shift 2
  for change in "$@"; do changes+=(--change "$change"); done
  "${as_root[@]}" tar --numeric-owner -C "$folder" -c . |
    "$engine" import "${changes[@]}" - "$image" >/dev/null
  echo "$image"
}

usual=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

if missing "$runtime"; then
  bootstrap "$work/runtime" ""
  import "$work/runtime" "$runtime" "ENV PATH=$usual" 'CMD ["bash"]'
fi

if missing "$database"; then
  version=${database#postgres:}
  version=${version%%-*}
  bootstrap "$work/database" "postgresql-$version"
  "${as_root[@]}" install --mode=755 tests/hosts/postgres.sh "$work/database/usr/local/bin/"
  import "$work/database" "$database" "ENV PATH=/usr/lib/postgresql/$version/bin:$usual" \
    'ENTRYPOINT ["postgres.sh"]' 'VOLUME /var/lib/postgresql/data'
fi

if missing "$builder"; then
  version=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
  toolchain=$(rustc "+$version" --print sysroot)
  bootstrap "$work/builder" gcc,libc6-dev,ca-certificates
  home=$work/builder/usr/local/rust
  "${as_root[@]}" mkdir -p "$home"
  # Without documentation, which is half of it.
  "${as_root[@]}" tar -C "$toolchain/" --exclude ./share/doc --exclude ./share/man -c . |
    "${as_root[@]}" tar -C "$home" -x
  # The machine's own authorities: a proxy on the way to the registry may have one.
  if [ -r /etc/ssl/certs/ca-certificates.crt ]; then
    "${as_root[@]}" cp -L /etc/ssl/certs/ca-certificates.crt \
      "$work/builder/etc/ssl/certs/ca-certificates.crt"
  fi
  import "$work/builder" "$builder" "ENV PATH=/usr/local/rust/bin:$usual" \
    "ENV CARGO_HOME=/usr/local/cargo" 'CMD ["bash"]'
fi
