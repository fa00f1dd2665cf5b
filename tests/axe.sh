#!/bin/sh
# Fetches axe-core (MPL-2.0), which the browser test runs on the page, out of a Python package that
# carries it:
#   BAZAAR_AXE=$(tests/axe.sh FOLDER)
# Nothing of the package is installed or run. The hash says which file it is, wherever it comes
# from.
set -eu
folder=${1:?say where it is to be put: tests/axe.sh FOLDER}
file=$folder/axe.min.js
version=0.1.8
mkdir -p "$folder"
if [ ! -s "$file" ]; then
  rm -rf "$folder/package"
  printf 'axe-playwright-python==%s --hash=sha256:%s\n' "$version" \
    fdd263c998388f1a8e67cad02677e612d946248bd44d163be5e8650ea31f95f8 > "$folder/axe.txt"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --require-hashes --requirement "$folder/axe.txt" --dest "$folder/package" >&2
  python3 - "$folder" <<'PYTHON'
import pathlib, sys, zipfile
folder = pathlib.Path(sys.argv[1])
[package] = (folder / "package").glob("*.whl")
script = zipfile.ZipFile(package).read("axe_playwright_python/axe.min.js")
(folder / "axe.min.js").write_bytes(script)
PYTHON
fi
printf '%s\n' "$file"
