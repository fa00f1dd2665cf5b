#!/usr/bin/env bash
# Goal: ec2-up makes exactly what it says, twice over as once, and ec2-down removes it and sees what
# is left; wrong settings are named with their remedy. The real CLI talks to a moto server, which
# keeps the state that AWS would.
. "$(dirname "$0")/lib.sh"

PATH=$PWD/$VENV/bin:$PATH
# Two images of Debian, so that the newest has to be found, and a stand-in for curl that prints the
# caller's address.
cat >"$WORK/images.json" <<'END'
[{"ami_id": "ami-0000000000000old1", "name": "debian-13-amd64-20250814-2204",
  "owner_id": "136693071363", "creation_date": "2025-08-14T00:00:00.000Z",
  "architecture": "x86_64", "root_device_name": "/dev/xvda", "root_device_type": "ebs",
  "virtualization_type": "hvm", "state": "available",
  "description": "Debian 13", "hypervisor": "xen", "image_location": "amazon/debian-13-amd64",
  "image_type": "machine", "platform": null, "public": true, "sriov": "simple"},
 {"ami_id": "ami-0000000000000new1", "name": "debian-13-amd64-20260101-2300",
  "owner_id": "136693071363", "creation_date": "2026-01-01T00:00:00.000Z",
  "architecture": "x86_64", "root_device_name": "/dev/xvda", "root_device_type": "ebs",
  "virtualization_type": "hvm", "state": "available",
  "description": "Debian 13", "hypervisor": "xen", "image_location": "amazon/debian-13-amd64",
  "image_type": "machine", "platform": null, "public": true, "sriov": "simple"}]
END
mkdir "$WORK/bin"
printf '#!/bin/sh\necho 203.0.113.7\n' >"$WORK/bin/curl"
chmod +x "$WORK/bin/curl"

port=$(free_port 127.0.0.1)
MOTO_AMIS_PATH=$WORK/images.json moto_server -H 127.0.0.1 -p "$port" >"$WORK/moto.log" 2>&1 &
started+=($!)
until_true 60 curl -sf "http://127.0.0.1:$port/moto-api/"
PATH=$WORK/bin:$PATH

# Nothing of the caller's own account or settings is used.
export AWS_ENDPOINT_URL=http://127.0.0.1:$port AWS_CONFIG_FILE=/dev/null
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
export AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true HOME=$WORK
unset AWS_PROFILE AWS_SESSION_TOKEN AWS_REGION AWS_DEFAULT_REGION "${!EC2_@}"
EC2=$PWD/$EC2
cd "$WORK"
ec2() { aws --region us-east-1 --output text ec2 "$@"; }
# shellcheck disable=SC2016 # the backquotes are JMESPath's
rules() {
  ec2 describe-security-group-rules \
    --query 'SecurityGroupRules[?IsEgress==`false`].[FromPort,CidrIpv4||`group`]' | sort | xargs
}
running() {
  ec2 describe-instances --filters Name=instance-state-name,Values=running \
    --query 'Reservations[].Instances[].InstanceType' | xargs
}

# Settings and credentials that are wrong.
refuses 'no AWS credentials: run' env -u AWS_ACCESS_KEY_ID -u AWS_SECRET_ACCESS_KEY "$EC2/up.sh"
refuses 'EC2_REGION=us-eest-1: this account has no such region' \
  env EC2_REGION=us-eest-1 "$EC2/up.sh"
refuses 'EC2_MACHINES=2: write 1 or 3' env EC2_MACHINES=2 "$EC2/up.sh"
refuses 'EC2_ALLOW=everybody: write an IPv4 range' env EC2_ALLOW=everybody "$EC2/up.sh"
refuses 'EC2_NAME=my bazaar: write letters' env EC2_NAME='my bazaar' "$EC2/up.sh"
refuses 'EC2_USER=-oProxyCommand=x: write a login name' env EC2_USER=-oProxyCommand=x "$EC2/up.sh"
refuses "run 'make ec2-up' first" "$EC2/deploy.sh"

# A line in the settings is read, not run.
mkdir -p ec2-state/planted
# shellcheck disable=SC2016
printf 'x[$(touch %s/ran)]=1\n' "$WORK" >ec2-state/planted/settings
refuses 'is no setting that is kept there' env EC2_NAME=planted "$EC2/down.sh"
# shellcheck disable=SC2016
printf 'EC2_TYPE=$(touch %s/ran)\n' "$WORK" >ec2-state/planted/settings
refuses 'write letters, digits' env EC2_NAME=planted "$EC2/down.sh"
[ ! -e "$WORK/ran" ] || fail 'a line in the settings was run'
rm -r ec2-state/planted
equal 'machines after refusals' '' "$(running)"
says 'nothing of bazaar is left in us-east-1' "$EC2/down.sh"

# One machine.
says '1 x 0.179 USD (machine 0.172, address 0.005, disk 0.002) = 0.18 USD' "$EC2/up.sh"
equal machines m5a.xlarge "$(running)"
equal 'encrypted disks' True "$(ec2 describe-volumes --query 'Volumes[].Encrypted')"
equal image ami-0000000000000new1 \
  "$(ec2 describe-instances --query 'Reservations[].Instances[].ImageId')"
equal rules '22 203.0.113.7/32 8080 203.0.113.7/32' "$(rules)"
equal 'mode of the key' 600 "$(stat -c %a ec2-state/bazaar/key)"
equal 'mode of the folder' 700 "$(stat -c %a ec2-state/bazaar)"
public=$(ec2 describe-instances --query 'Reservations[].Instances[].PublicIpAddress')
equal hosts "1 $public 127.0.0.1" "$(cat ec2-state/bazaar/hosts)"

# Again: nothing is made twice; another address of the caller's takes the place of the old one; a
# stopped machine is woken.
id=$(ec2 describe-instances --query 'Reservations[].Instances[].InstanceId')
ec2 stop-instances --instance-ids "$id" >/dev/null
says "started machine 1: $id" env EC2_ALLOW=198.51.100.0/24 "$EC2/up.sh"
equal 'machines after the second run' m5a.xlarge "$(running)"
equal 'rules after the second run' '22 198.51.100.0/24 8080 198.51.100.0/24' "$(rules)"
says "machine 1 is there: $id" env EC2_ALLOW=0.0.0.0/0 "$EC2/up.sh"
grep -q 'that is everybody' "$WORK/output" || fail 'an open door was not reported'
refuses 'machine 1 is of type m5a.xlarge, and EC2_TYPE=t3a.large' \
  env EC2_TYPE=t3a.large "$EC2/up.sh"
refuses 'was made in us-east-1' env EC2_REGION=eu-west-1 "$EC2/up.sh"
refuses 'its private half is not in' env EC2_STATE=elsewhere "$EC2/up.sh"

# A group or key of the same name that somebody else made is not touched.
ec2 create-security-group --group-name theirs --description 'not ours' >/dev/null
refuses 'AWS refused' env EC2_NAME=theirs "$EC2/up.sh"
says 'nothing of theirs is left' env EC2_NAME=theirs "$EC2/down.sh"
equal 'their group' theirs \
  "$(ec2 describe-security-groups --group-names theirs --query 'SecurityGroups[].GroupName')"

# ec2-down names the things that it cannot remove, and fails.
disk=$(ec2 create-volume --size 1 --availability-zone us-east-1a --query VolumeId \
  --tag-specifications 'ResourceType=volume,Tags=[{Key=bazaar,Value=bazaar}]')
refuses "$disk" "$EC2/down.sh"
[ -f ec2-state/bazaar/key ] || fail 'the key went, though something is left'
ec2 delete-volume --volume-id "$disk" >/dev/null
says 'nothing of bazaar is left in us-east-1' "$EC2/down.sh"
equal 'machines after ec2-down' '' "$(running)"
equal 'key pairs after ec2-down' '' "$(ec2 describe-key-pairs --query 'KeyPairs[].KeyName')"
[ ! -e ec2-state/bazaar ] || fail "left behind: $(ls ec2-state/bazaar)"

# Three machines, of another type, in another place; the settings of ec2-up hold for ec2-down.
says 'cost per hour: 3 x' env EC2_MACHINES=3 EC2_TYPE=t3a.large EC2_PRICE=0.0752 "$EC2/up.sh"
equal 'three machines' 't3a.large t3a.large t3a.large' "$(running)"
equal 'subnets of three machines' 1 "$(ec2 describe-instances \
  --filters Name=instance-state-name,Values=running \
  --query 'Reservations[].Instances[].SubnetId' | xargs -n 1 | sort -u | wc -l)"
equal 'rules of three machines' '22 203.0.113.7/32 7000 group 8080 203.0.113.7/32' "$(rules)"
equal 'hosts of three machines' '1 2 3' "$(cut -d ' ' -f 1 ec2-state/bazaar/hosts | xargs)"
! grep -q 127.0.0.1 ec2-state/bazaar/hosts || fail 'a loopback address among three machines'
refuses 'there are more machines than EC2_MACHINES=1' env EC2_MACHINES=1 "$EC2/up.sh"
says 'nothing of bazaar is left in us-east-1' "$EC2/down.sh"
equal 'machines at the end' '' "$(running)"
equal 'disks at the end' '' "$(ec2 describe-volumes --query 'Volumes[].VolumeId')"
