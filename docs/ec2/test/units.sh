#!/usr/bin/env bash
# Goal: systemd takes the units and what they share, restarts each service always, and finds little
# that they are exposed to; and it notices a mistake in them.
. "$(dirname "$0")/lib.sh"

# systemd wants the programs to be where the units say; here they are where they were built.
units=$WORK/units
cp -r "$EC2/units" "$units"
built=$(cd "$BINARIES" && pwd)
sed -i "s|/opt/bazaar/bin|$built|" "$units"/*.service
names=("$units"/bazaar-{catalog,order@2,frontend}.service)
verify() { systemd-analyze verify --man=no "${names[@]}" 2>&1; }

answer=$(verify) || fail "systemd does not take the units: $answer"
equal 'what systemd says of them' '' "$answer"
# 0 is exposed to nothing, 100 to all.
systemd-analyze security --offline=yes --no-pager --threshold=15 "${names[@]}" \
  >"$WORK/output" 2>&1 ||
  fail "exposed to more than 15 of 100: $(grep '→' "$WORK/output")"
grep '→' "$WORK/output"
for line in Restart=always StandardOutput=journal NoNewPrivileges=yes DynamicUser=yes; do
  grep -qx "$line" "$units/bazaar-.service.d/common.conf" || fail "no $line for all services"
done

# Mistakes in what is shared, and in a unit, are seen.
sed -i 's/^Restart=always/Restart=allways/' "$units/bazaar-.service.d/common.conf"
[[ $(verify || true) == *allways* ]] || fail 'a mistake in what units share was not noticed'
sed -i 's|^ExecStart=.*|ExecStart=/nowhere/catalog|' "$units/bazaar-catalog.service"
[[ $(verify || true) == *'/nowhere/catalog is not executable'* ]] ||
  fail 'a program that is not there was not noticed'
