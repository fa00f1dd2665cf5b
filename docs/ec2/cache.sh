#!/usr/bin/env bash
# cache.sh on|off [SIZE]: starts the front-end anew with another cache, until the next deployment.
. "$(dirname "$0")/settings.sh"
. "$(dirname "$0")/remote.sh"

cache=${1-}
size=${2-}
[[ $cache =~ ^(on|off)$ && $size =~ ^[0-9]*$ ]] || die "write: $0 on|off [SIZE]"
remote 1 "sudo sh -es" <<END
settings=\${DESTDIR-}/etc/bazaar/frontend.env
sed -i '/^FRONTEND_CACHE/d' "\$settings"
printf 'FRONTEND_CACHE=%s\nFRONTEND_CACHE_SIZE=%s\n' '$cache' '$size' >>"\$settings"
systemctl restart bazaar-frontend
END
