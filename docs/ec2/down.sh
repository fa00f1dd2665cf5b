#!/usr/bin/env bash
# Removes all that up.sh made, and looks whether it is gone.
. "$(dirname "$0")/settings.sh"
. "$(dirname "$0")/cloud.sh"

remove_machines() {
  local all ids
  all=$(machines)
  [ -n "$all" ] || return 0
  mapfile -t ids < <(awk '{ print $2 }' <<<"$all")
  cloud ec2 terminate-instances --instance-ids "${ids[@]}" >/dev/null
  say 'waiting for the machines to end'
  cloud ec2 wait instance-terminated --instance-ids "${ids[@]}"
}

# A group cannot go before the last network interface in it, which may stay some seconds longer than
# its machine.
remove_group() {
  local group tries error
  group=$(group)
  [ -n "$group" ] || return 0
  for ((tries = 12; tries > 0; tries--)); do
    if error=$(aws --region "$EC2_REGION" ec2 delete-security-group --group-id "$group" 2>&1); then
      return 0
    fi
    [[ $error == *DependencyViolation* ]] || break
    sleep 5
  done
  printf '%s\n' "$error" >&2 # the check below ends with a failure
}

remove_key() {
  local there
  there=$(key_pair)
  [ -z "$there" ] || cloud ec2 delete-key-pair --key-name "$EC2_NAME" >/dev/null
}

# Anything that is left may cost money: the script names it and fails.
check() {
  local machines disks group key
  machines=$(machines)
  disks=$(volumes)
  group=$(group)
  key=$(key_pair)
  [ -z "$machines$disks$group$key" ] ||
    die "still there in $EC2_REGION with the tag bazaar=$EC2_NAME; run this again, or remove it" \
      "in the console: $(xargs <<<"$machines $disks $group $key")"
}

check_cloud
remove_machines
remove_group
remove_key
check
rm -f "$EC2_STATE"/bin/{catalog,order,frontend} "$KEY" "$KEY.pub" "$HOSTS" \
  "$EC2_STATE/settings" "$EC2_STATE/known_hosts"
for folder in "$EC2_STATE/bin" "$EC2_STATE"; do
  [ ! -d "$folder" ] || rmdir "$folder"
done
say "nothing of $EC2_NAME is left in $EC2_REGION"
