# shellcheck shell=bash
# Which service runs where, and with which settings. Sourced after remote.sh.

# Services of several machines are reached by more than their own machine: their internal listeners
# have the edge.
#
# write_environments NUMBER FOLDER: one file of variables for each service of a machine, all but the
# token.
write_environments() {
  local catalog replicas='' replica
  catalog=$(internal 1)
  for replica in 1 2 3; do
    replicas+=${replicas:+,}$replica=http://$(internal "$(machine_of "$replica")"):720$replica
  done
  for replica in 1 2 3; do
    [ "$(machine_of "$replica")" = "$1" ] || continue
    write "$2/order-$replica.env" "ORDER_ID=$replica" "ORDER_LISTEN=$(internal "$1"):720$replica" \
      "ORDER_REPLICAS=$replicas" "CATALOG_URL=http://$catalog:7100"
  done
  [ "$1" = 1 ] || return 0
  write "$2/catalog.env" "CATALOG_LISTEN=$catalog:7100"
  write "$2/frontend.env" "FRONTEND_LISTEN=0.0.0.0:$EC2_PORT" \
    "FRONTEND_INTERNAL_LISTEN=$catalog:7000" \
    "ORDER_REPLICAS=$replicas" "CATALOG_URL=http://$catalog:7100"
}

# write FILE VARIABLE…: EC2_SET comes last, and so wins.
write() {
  local file=$1 setting
  shift
  [ "$EC2_MACHINES" = 1 ] || set -- "$@" BAZAAR_INTERNAL_SERVER=edge
  for setting in $EC2_SET; do
    [[ $setting =~ ^[A-Z_]+=.+$ ]] ||
      die "EC2_SET: '$setting' is not NAME=value; several are separated by spaces"
    set -- "$@" "$setting"
  done
  printf '%s\n' "$@" >"$file"
}
