#!/usr/bin/env bash
# Goal: what ec2-deploy installs works as installed: on one machine and on three, the bazaar opens,
# trades, survives a killed replica and a second deployment, and keeps its token to itself. The
# machines are real SSH servers on addresses of the loopback network, each with a folder as its
# root; a stand-in for systemctl starts what the real units and environment files say.
. "$(dirname "$0")/lib.sh"
unset "${!EC2_@}" BAZAAR_TOKEN

server=$(PATH=$PATH:/usr/sbin:/sbin command -v sshd)
built=$(cd "$BINARIES" && pwd)
network=127.$((RANDOM % 200 + 20)).$((RANDOM % 250 + 1))
EC2_SSH_PORT=$(free_port "$network.1")
EC2_PORT=$(free_port 0.0.0.0)
EC2_USER=$(id -un)
export EC2_SSH_PORT EC2_PORT EC2_USER EC2_STATE=$WORK/state BINARIES
mkdir -m 700 "$EC2_STATE"
ssh-keygen -q -t ed25519 -N '' -f "$EC2_STATE/key"
ssh-keygen -q -t ed25519 -N '' -f "$WORK/host_key"
# As root, sshd locks part of itself up in an empty folder that Debian makes when its service
# starts.
[ "$(id -u)" != 0 ] || mkdir -p /run/sshd

before_finish() {
  local file
  for file in "$WORK"/machine*/run/*.pid; do
    if [ -f "$file" ]; then kill -KILL "$(cat "$file")" 2>/dev/null || true; fi
  done
}

# machine NUMBER [FOLDER]: an SSH server that has a folder of its own for its root, and takes
# commands from FOLDER first; with a home of its own, since the user's shell settings could put
# other folders before that.
machine() {
  local home=$WORK/machine$1 environment
  environment="PATH=${2:+$2:}$PWD/$EC2/test/standins:$PATH HOME=$home DESTDIR=$home BUILT=$built"
  mkdir "$home"
  cat >"$WORK/sshd$1" <<END
ListenAddress $network.$1:$EC2_SSH_PORT
HostKey $WORK/host_key
AuthorizedKeysFile $EC2_STATE/key.pub
StrictModes no
PasswordAuthentication no
PidFile none
ForceCommand env $environment sh -c "\$SSH_ORIGINAL_COMMAND"
END
  "$server" -D -e -f "$WORK/sshd$1" 2>"$WORK/sshd$1.log" &
  started+=($!)
}

# order KIND QUANTITY: trades, and gives the order's number.
order() {
  local body="{\"name\":\"FishCo\",\"quantity\":$2,\"type\":\"$1\"}"
  curl -sS --fail-with-body -d "$body" "$url/orders" | grep -o '[0-9]*'
}
stock() { curl -sS --fail-with-body "$url/stocks/${1-FishCo}" | grep -o '"quantity":[0-9]*'; }
leader() { curl -sS "$url/status" | grep -o '"leader":[0-9a-z]*'; }
led_by() { [ "$(leader)" = "\"leader\":$1" ]; }
cache_is() { [ "$(curl -sS "$url/status" | grep -o '"enabled":[a-z]*')" = "\"enabled\":$1" ]; }
same_files() { "$EC2/verify.sh"; }

# The token is readable by the installing user alone, is the same on all machines, and was neither
# printed nor kept here.
check_token() {
  local files token
  files=("$WORK"/machine*/etc/bazaar/*.env)
  equal 'environment files' "$1" "${#files[@]}"
  equal 'their modes and owner' "600 $EC2_USER" "$(stat -c '%a %U' "${files[@]}" | sort -u)"
  equal 'their folders' 700 "$(stat -c %a "$WORK"/machine*/etc/bazaar | sort -u)"
  token=$(grep -h ^BAZAAR_TOKEN= "${files[@]}" | sort -u | sed 's/.*=//')
  [[ $token =~ ^[0-9a-f]{64}$ ]] || fail "no single token of 64 digits in ${files[*]}"
  ! grep -q "$token" "$WORK/output" || fail 'the token was printed'
  ! grep -rq "$token" "$EC2_STATE" "$WORK"/machine*/run || fail 'the token is kept elsewhere'
  printf '%s' "$token"
}

for number in 1 2 3; do machine "$number"; done
mkdir "$WORK/old"
printf '#!/bin/sh\necho glibc 2.17\n' >"$WORK/old/getconf"
chmod +x "$WORK/old/getconf"
machine 4 "$WORK/old"
for number in 1 2 3 4; do
  until_true 20 bash -c "exec 3<>/dev/tcp/$network.$number/$EC2_SSH_PORT"
done
url=http://$network.1:$EC2_PORT

# A binary that would not run there is not copied.
echo "1 $network.4 $network.4" >"$EC2_STATE/hosts"
refuses 'build there with EC2_BUILD=there' "$EC2/deploy.sh"
equal 'copied to a machine with an old C library' '' "$(ls "$WORK/machine4")"
rm "$EC2_STATE/known_hosts"

# One machine. The last column is what ec2-up writes as 127.0.0.1; another address of the same
# network keeps tests apart.
echo "1 $network.1 $network.1" >"$EC2_STATE/hosts"
refuses 'EC2_STOCKS=/nowhere: there is no such file' env EC2_STOCKS=/nowhere "$EC2/deploy.sh"
printf 'name,price,quantity\nFishCo,5.99,100\nTunaCo,7.50,1000000000\n' >"$WORK/stocks.csv"
says "The bazaar is open at $url" env EC2_STOCKS="$WORK/stocks.csv" "$EC2/deploy.sh"
first=$(check_token 5)
equal 'first order' 0 "$(order buy 5)"
equal 'its stock' '"quantity":95' "$(stock)"
equal 'a stock of EC2_STOCKS' '"quantity":1000000000' "$(stock TunaCo)"
equal 'a call without the token' 401 \
  "$(curl -s -o /dev/null -w '%{http_code}' "http://$network.1:7100/term")"

# A killed leader stays dead until it is brought back; clients go on with the next one.
until_true 20 led_by 3
"$EC2/service.sh" kill 3
equal 'order after the kill' 1 "$(order buy 5)"
until_true 20 led_by 2
"$EC2/service.sh" restart 3
until_true 30 same_files
"$EC2/service.sh" pause 2
equal 'order while the leader is paused' 2 "$(order sell 1)"
"$EC2/service.sh" resume 2
until_true 30 same_files
refuses "'4' is no service: write" "$EC2/service.sh" kill 4
says 'orders go to this leader leader=2' env LINES=50 "$EC2/logs.sh"

# The commands that ec2-eval hands to the evaluation do what it expects of them.
says 'all 3 replicas have the same file' \
  env PATH="$PWD/$EC2/test/here:$PATH" timeout 60 "$EC2/eval.sh"
for line in 'with token: 400' 'without: 401' 'KILL: down' 'RESTART: follower' 'PAUSE: down' \
  'RESUME: follower' 'files: 3' ',FishCo,sell,1,' '"cache":{"enabled":false'; do
  grep -qF "$line" "$WORK/output" ||
    fail "the evaluation did not see '$line': $(cat "$WORK/output")"
done
until_true 20 cache_is true

# Again, built on the machine: a fresh token, more settings, and what was traded is kept.
says "The bazaar is open at $url" env EC2_BUILD=there BINARIES=/nowhere \
  EC2_SET='FRONTEND_CACHE=off BAZAAR_LOG=debug' "$EC2/deploy.sh"
second=$(check_token 5)
[ "$first" != "$second" ] || fail 'the second deployment took the token of the first'
equal 'settings' 'FRONTEND_CACHE=off' "$(grep CACHE "$WORK/machine1/etc/bazaar/frontend.env")"
equal 'stock after the second deployment' '"quantity":91' "$(stock)"

# Three machines: what is there goes on, each replica on its own machine, and the two others leave
# the first.
for number in 1 2 3; do echo "$number $network.$number $network.$number"; done >"$EC2_STATE/hosts"
says "The bazaar is open at $url" "$EC2/deploy.sh"
check_token 5 >/dev/null
equal 'on machine 1' 'catalog.env frontend.env order-1.env' \
  "$(cd "$WORK/machine1/etc/bazaar" && echo *)"
equal 'on machine 3' order-3.env "$(cd "$WORK/machine3/etc/bazaar" && echo *)"
equal 'order on three machines' 3 "$(order buy 1)"
equal 'stock on three machines' '"quantity":90' "$(stock)"
