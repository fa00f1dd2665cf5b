#!/usr/bin/env bash
# Runs on a machine, as root, in what deploy.sh copied there; the token comes on standard input.
# DESTDIR is put before all paths.
set -euo pipefail
cd "$(dirname "$0")"
DESTDIR=${DESTDIR-}
settings=$DESTDIR/etc/bazaar
read -r token

# unit_of FILE: catalog.env → bazaar-catalog, order-2.env → bazaar-order@2.
unit_of() {
  local name
  name=bazaar-$(basename "$1" .env)
  printf '%s' "${name/order-/order@}"
}

install -d "$DESTDIR/opt/bazaar/bin" "$DESTDIR/etc/systemd/system"
install -m 755 bin/* "$DESTDIR/opt/bazaar/bin"
cp -r units/. "$DESTDIR/etc/systemd/system"

# The catalog's user cannot look into the folder of the settings. A bazaar that has begun keeps the
# stocks that it has.
if [ -f stocks.csv ] && [ -f env/catalog.env ]; then
  install -m 644 stocks.csv "$DESTDIR/opt/bazaar/stocks.csv"
  printf 'CATALOG_STOCKS=%s\n' "$DESTDIR/opt/bazaar/stocks.csv" >>env/catalog.env
fi

# systemd reads these as root, before it gives up its rights; the services never open them.
install -d -m 700 "$settings"
units=()
for file in env/*.env; do
  install -m 600 /dev/null "$settings/new"
  cat "$file" - >"$settings/new" <<<"BAZAAR_TOKEN=$token"
  mv "$settings/new" "$settings/$(basename "$file")"
  units+=("$(unit_of "$file")")
done

systemctl daemon-reload
# Services of an earlier layout, which run here no longer.
for file in "$settings"/*.env; do
  if [ ! -e "env/$(basename "$file")" ]; then
    systemctl disable --now "$(unit_of "$file")"
    rm "$file"
  fi
done
systemctl enable --quiet "${units[@]}"
systemctl restart "${units[@]}"
