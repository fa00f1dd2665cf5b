# shellcheck shell=bash disable=SC2034 # sourced: who sources it uses them
# Commands on the machines, over ssh. Sourced after settings.sh.

need ssh 'apt install openssh-client'
[ -s "$HOSTS" ] || die "there is no list of machines in $HOSTS: run 'make ec2-up' first"
[ -f "$KEY" ] ||
  die "the private key $KEY is missing: bring it back, or start afresh with 'make ec2-down' and" \
    "'make ec2-up'"

MACHINES=$(wc -l <"$HOSTS")

# public NUMBER, internal NUMBER: addresses of a machine.
public() { awk -v number="$1" '$1 == number { print $2 }' "$HOSTS"; }
internal() { awk -v number="$1" '$1 == number { print $3 }' "$HOSTS"; }

# The address of the public API: the front-end is on the first machine.
URL=http://$(public 1):$EC2_PORT

# remote NUMBER COMMAND: runs it in a shell there; ssh's options may come in place of it. With
# EC2_HOST_KEYS=learn a machine's key is learnt at the first call, and has to stay the same; with
# known it has to be in the file before.
remote() {
  local machine=$1 unknown=accept-new
  shift
  [ "$EC2_HOST_KEYS" = learn ] || unknown=yes
  ssh -i "$KEY" -p "$EC2_SSH_PORT" \
    -o IdentitiesOnly=yes -o BatchMode=yes -o ConnectTimeout=5 -o LogLevel=ERROR \
    -o StrictHostKeyChecking=$unknown -o UserKnownHostsFile="$EC2_STATE/known_hosts" \
    "$EC2_USER@$(public "$machine")" "$@"
}

# machine_of REPLICA: where a replica runs.
machine_of() { say $((($1 - 1) % MACHINES + 1)); }
