#!/usr/bin/env bash
# Makes the parts of a bazaar on EC2: key pair, security group, machines. It keeps those that exist,
# so it may be run again.
. "$(dirname "$0")/settings.sh"
. "$(dirname "$0")/cloud.sh"

# Debian's own account, which publishes its images.
DEBIAN=136693071363

# The newest image has the fewest known holes.
find_image() {
  [ -z "$EC2_IMAGE" ] || return 0
  image=$(cloud ec2 describe-images --owners "$DEBIAN" \
    --filters 'Name=name,Values=debian-13-amd64-*' Name=architecture,Values=x86_64 \
    Name=state,Values=available \
    --query 'sort_by(Images, &CreationDate)[-1].ImageId')
  [ "$image" != None ] ||
    die "no image of Debian 13 in EC2_REGION=$EC2_REGION: name one with EC2_IMAGE=ami-…"
}

# Made here: only the public half leaves this machine.
make_key() {
  local there
  there=$(key_pair)
  if [ -n "$there" ]; then
    [ -f "$KEY" ] ||
      die "the key pair $EC2_NAME exists, but its private half is not in $KEY: bring the file" \
        "back, or remove all with 'make ec2-down'"
    return 0
  fi
  [ -f "$KEY" ] || ssh-keygen -q -t ed25519 -N '' -C "$EC2_NAME" -f "$KEY"
  cloud ec2 import-key-pair --key-name "$EC2_NAME" --public-key-material "fileb://$KEY.pub" \
    --tag-specifications "$(tags key-pair)" >/dev/null
  say "made key pair $EC2_NAME; its private half is $KEY"
}

make_group() {
  local network
  group=$(group)
  [ -z "$group" ] || return 0
  network=$(cloud ec2 describe-vpcs --filters Name=is-default,Values=true --query 'Vpcs[].VpcId')
  [ -n "$network" ] ||
    die "EC2_REGION=$EC2_REGION has no default network: make one with 'aws ec2" \
      "create-default-vpc --region $EC2_REGION'"
  group=$(cloud ec2 create-security-group --group-name "$EC2_NAME" --vpc-id "$network" \
    --description "Stock bazaar $EC2_NAME" --tag-specifications "$(tags security-group)" \
    --query GroupId)
  say "made security group $EC2_NAME: $group"
}

find_caller() {
  local address
  address=$(curl -4 -sSf --max-time 10 https://checkip.amazonaws.com) ||
    die "cannot find out this machine's public address: write it as EC2_ALLOW=a.b.c.d/32"
  EC2_ALLOW=$address/32
}

# Lines of: first port, last port, who. Several machines reach each other's internal ports.
wanted_rules() {
  printf '%s\n' "22 22 $EC2_ALLOW" "$EC2_PORT $EC2_PORT $EC2_ALLOW"
  [ "$EC2_MACHINES" = 1 ] || printf '7000 7203 %s\n' "$group"
}

# Lines of: rule, first port, last port, who.
present_rules() {
  # shellcheck disable=SC2016 # the backquotes are JMESPath's
  cloud ec2 describe-security-group-rules --filters "Name=group-id,Values=$group" \
    --query 'SecurityGroupRules[?IsEgress==`false`].[SecurityGroupRuleId,FromPort,ToPort,
      CidrIpv4||ReferencedGroupInfo.GroupId]'
}

# Opens what is wanted and closes the rest: who comes back with another address is let in, and the
# old address no longer is.
set_rules() {
  local present wanted rule first last who to
  [ -n "$EC2_ALLOW" ] || find_caller
  present=$(present_rules)
  wanted=$(wanted_rules)
  while read -r rule first last who; do
    [ -z "$rule" ] || grep -qx "$first $last $who" <<<"$wanted" ||
      cloud ec2 revoke-security-group-ingress --group-id "$group" \
        --security-group-rule-ids "$rule" >/dev/null
  done <<<"$present"
  present=$(awk '{ print $2, $3, $4 }' <<<"$present")
  while read -r first last who; do
    ! grep -qx "$first $last $who" <<<"$present" || continue
    case $who in
      sg-*) to="UserIdGroupPairs=[{GroupId=$who}]" ;;
      *) to="IpRanges=[{CidrIp=$who}]" ;;
    esac
    cloud ec2 authorize-security-group-ingress --group-id "$group" \
      --ip-permissions "IpProtocol=tcp,FromPort=$first,ToPort=$last,$to" >/dev/null
  done <<<"$wanted"
  say "ports 22 and $EC2_PORT are open to $EC2_ALLOW"
  [ "$EC2_ALLOW" != 0.0.0.0/0 ] || say 'that is everybody: anybody can trade there'
}

# run_machine NUMBER SUBNET: machines after the first are put beside it, so that they are near each
# other.
run_machine() {
  local disk volume marks
  [ -n "$image" ] || find_image
  disk=$(cloud ec2 describe-images --image-ids "$image" --query 'Images[0].RootDeviceName')
  volume=VolumeSize=$EC2_DISK_GB,VolumeType=gp3,Encrypted=true,DeleteOnTermination=true
  marks="{Key=bazaar,Value=$EC2_NAME},{Key=bazaar-machine,Value=$1},{Key=Name,Value=$EC2_NAME-$1}"
  cloud ec2 run-instances --image-id "$image" --instance-type "$EC2_TYPE" --key-name "$EC2_NAME" \
    --security-group-ids "$group" ${2:+--subnet-id "$2"} \
    --block-device-mappings "DeviceName=$disk,Ebs={$volume}" \
    --metadata-options HttpTokens=required \
    --tag-specifications "$(tags volume)" \
    "ResourceType=instance,Tags=[$marks]" \
    --query 'Instances[0].InstanceId'
}

# start_machine NUMBER: makes it, wakes it, or finds it running.
start_machine() {
  local all id state type subnet
  all=$(machines)
  subnet=$(awk 'NR == 1 { print $5 }' <<<"$all")
  read -r id state type < <(awk -v number="$1" \
    '$1 == number && $3 != "shutting-down" { print $2, $3, $4 }' <<<"$all") || true
  [ "${type:-$EC2_TYPE}" = "$EC2_TYPE" ] ||
    die "machine $1 is of type $type, and EC2_TYPE=$EC2_TYPE: set EC2_TYPE=$type, or remove all" \
      "with 'make ec2-down' first"
  case $state in
    '')
      id=$(run_machine "$1" "$subnet")
      say "made machine $1: $id, $EC2_TYPE" ;;
    stopped | stopping)
      cloud ec2 wait instance-stopped --instance-ids "$id"
      cloud ec2 start-instances --instance-ids "$id" >/dev/null
      say "started machine $1: $id" ;;
    *) say "machine $1 is there: $id" ;;
  esac
  cloud ec2 wait instance-running --instance-ids "$id"
}

# On one machine the services listen on its loopback address, which nobody else can reach.
write_hosts() {
  local all
  all=$(machines)
  awk -v machines="$EC2_MACHINES" \
    '$3 == "running" { print $1, $6, machines == 1 ? "127.0.0.1" : $7 }' <<<"$all" >"$HOSTS"
}

write_settings() {
  local name
  for name in $KEPT; do say "$name=${!name}"; done >"$EC2_STATE/settings"
}

tell_price() {
  if [ -z "$EC2_PRICE" ] && [ "$EC2_TYPE $EC2_REGION" = 'm5a.xlarge us-east-1' ]; then
    EC2_PRICE=0.172
  fi
  if [ -z "$EC2_PRICE" ]; then
    say "cost per hour: not known for $EC2_TYPE in $EC2_REGION, see" \
      "https://aws.amazon.com/ec2/pricing/on-demand/ (EC2_PRICE=… sets it)"
    return 0
  fi
  # 0.005: a public address. 0.08: a GB of disk for a month of 730 hours.
  awk -v price="$EC2_PRICE" -v count="$EC2_MACHINES" -v disk="$EC2_DISK_GB" 'BEGIN {
    each = price + 0.005 + disk * 0.08 / 730
    printf "cost per hour: %d x %.3f USD (machine %.3f, address 0.005, disk %.3f) = %.2f USD",
      count, each, price, disk * 0.08 / 730, count * each
    print ", plus traffic, until make ec2-down" }'
}

need ssh-keygen 'apt install openssh-client'
check_cloud
all=$(machines)
[ "$(wc -w <<<"$all")" -le $((EC2_MACHINES * 7)) ] ||
  die "there are more machines than EC2_MACHINES=$EC2_MACHINES: set EC2_MACHINES=3, or remove" \
    "all with 'make ec2-down' first"
# Private half of the key, addresses, settings: the caller's alone.
umask 077
mkdir -p "$EC2_STATE"
write_settings
image=$EC2_IMAGE
tell_price
make_key
make_group
set_rules
for ((number = 1; number <= EC2_MACHINES; number++)); do
  start_machine "$number"
done
write_hosts
say "next: make ec2-deploy"
