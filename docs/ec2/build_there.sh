# shellcheck shell=bash
# Builds on the first machine, with its C library, and fetches the binaries. Sourced by deploy.sh;
# run in the project's folder.

need git 'apt install git'
say 'building on machine 1: some minutes'
# Expanded there.
# shellcheck disable=SC2016
folder='$HOME/bazaar-build'
git ls-files -z | tar --null --files-from=- -cz | remote 1 "mkdir -p $folder && tar -C $folder -xz"
remote 1 bash -s <<'END'
set -euo pipefail
PATH=$PATH:$HOME/.cargo/bin
if ! command -v cc >/dev/null || ! command -v curl >/dev/null; then
  sudo apt-get update -qq
  sudo DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    build-essential curl ca-certificates
fi
command -v cargo >/dev/null ||
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
  sh -s -- -y --profile minimal --default-toolchain none
cd "$HOME/bazaar-build"
cargo build --quiet --release -p catalog -p order -p frontend --bins
END
BINARIES=$EC2_STATE/bin
mkdir -p "$BINARIES"
remote 1 "tar -C $folder/target/release -cz catalog order frontend" | tar -C "$BINARIES" -xz
