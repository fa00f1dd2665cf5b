#!/bin/sh
# Compares the edge, tiny_http and nginx, each serving the same constant answer from memory, with
# wrk on one thread. They run in turns, a short round each, so that whatever else the machine does
# meets all of them. Prints a markdown table: medians; a server's share of nginx's rate, as the
# median over rounds of both in the same round; and processor time per request, which a busy machine
# disturbs least.
#
#   common/benches/edge_compare.sh [rounds] [seconds]
#
# nginx answers with its own head, of nearly the same size. A server that is not installed is left
# out, with a line that says so.
set -eu

rounds=${1:-5}
seconds=${2:-3}
path=/stocks/GameStart
body='{"data":{"name":"GameStart","price":15.99,"quantity":100}}'
root=$(cd "$(dirname "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
work=$(mktemp -d)
pids=""

stop() {
    for pid in $pids; do kill "$pid" 2>/dev/null || true; done
    for pid in $pids; do wait "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 1' INT TERM

command -v wrk >/dev/null || { echo "skipped: wrk is not installed"; exit 0; }
[ -n "${EDGE_CONSTANT:-}" ] ||
    (cd "$root" && cargo build -q --release -p common --example edge_constant)
constant=${EDGE_CONSTANT:-$target/release/examples/edge_constant}
threads=$(nproc)

"$constant" edge 127.0.0.1:18081 "$threads" >/dev/null 2>&1 &
edge_pid=$!
pids="$pids $!"
"$constant" tiny_http 127.0.0.1:18082 "$threads" >/dev/null 2>&1 &
tiny_http_pid=$!
pids="$pids $!"
servers="edge:18081 tiny_http:18082"
if command -v nginx >/dev/null; then
    cat >"$work/nginx.conf" <<CONF
daemon off;
master_process on;
worker_processes $threads;
pid $work/nginx.pid;
error_log $work/error.log;
events { worker_connections 16384; }
http {
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path $work;
    proxy_temp_path $work;
    fastcgi_temp_path $work;
    uwsgi_temp_path $work;
    scgi_temp_path $work;
    server {
        listen 127.0.0.1:18083 reuseport backlog=4096;
        server_tokens off;
        default_type application/json;
        location = $path { return 200 '$body'; }
    }
}
CONF
    nginx -p "$work" -c "$work/nginx.conf" &
    nginx_pid=$!
    pids="$pids $!"
    # Next to each other, since they are compared.
    servers="edge:18081 nginx:18083 tiny_http:18082"
else
    echo "left out: nginx is not installed"
fi

for server in $servers; do
    tries=0
    until [ "$(curl -s "http://127.0.0.1:${server#*:}$path")" = "$body" ]; do
        tries=$((tries + 1))
        [ $tries -lt 50 ] || { echo "$server does not answer" >&2; exit 1; }
        sleep 0.1
    done
done

# Processor time of a process and its children so far, in ticks.
ticks() {
    for pid in "$1" $(cat "/proc/$1/task/$1/children"); do cat "/proc/$pid/stat"; done |
        awk '{sum += $14 + $15} END {print sum}'
}

# Requests per second, p99, requests and ticks of one round.
measure() {
    pid=$(eval echo "\$${3}_pid")
    before=$(ticks "$pid")
    wrk -t1 -c"$2" -d"${seconds}s" --latency "http://127.0.0.1:$1$path" >"$work/out"
    if grep -q -e 'Non-2xx' -e 'Socket errors' "$work/out"; then cat "$work/out" >&2; exit 1; fi
    awk -v ticks="$(($(ticks "$pid") - before))" '
        /99%/ {
            unit = ($2 ~ /us$/) ? 1 : ($2 ~ /ms$/) ? 1000 : 1000000
            p99 = int($2 * unit)
        }
        /requests in/ {requests = $1}
        /Requests\/sec/ {rate = $2}
        END {print rate, p99, requests, ticks}' "$work/out"
}

median() { sort -n | awk '{v[NR]=$1} END {print v[int((NR + 1) / 2)]}'; }

for connections in 1 64; do
    for round in $(seq "$rounds"); do
        for server in $servers; do
            measure "${server#*:}" "$connections" "${server%:*}" >>"$work/${server%:*}.$connections"
        done
    done
done

columns="connections | server | requests/s (median of $rounds) | lowest | highest"
columns="$columns | p99 in µs (median) | of nginx | µs of processor per request"
echo "| $columns |"
echo "|---|---|---|---|---|---|---|---|"
for connections in 1 64; do
    for server in $servers; do
        rounds_of="$work/${server%:*}.$connections"
        middle=$(cut -d' ' -f1 "$rounds_of" | median)
        lowest=$(cut -d' ' -f1 "$rounds_of" | sort -n | head -1)
        highest=$(cut -d' ' -f1 "$rounds_of" | sort -n | tail -1)
        p99=$(cut -d' ' -f2 "$rounds_of" | median)
        share=–
        if [ -f "$work/nginx.$connections" ]; then
            share=$(paste -d' ' "$rounds_of" "$work/nginx.$connections" |
                awk '{printf "%.2f\n", $1 / $5}' | median)
        fi
        cost=$(awk -v second="$(getconf CLK_TCK)" '{r += $3; t += $4}
            END {printf "%.1f", t * 1000000 / second / r}' "$rounds_of")
        name=${server%:*}
        echo "| $connections | $name | $middle | $lowest | $highest | $p99 | $share | $cost |"
    done
done
