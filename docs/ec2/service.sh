#!/usr/bin/env bash
# service.sh kill|restart|pause|resume 1|2|3|catalog|frontend: what a crash experiment does to a
# service.
. "$(dirname "$0")/settings.sh"
. "$(dirname "$0")/remote.sh"

how="write: $0 kill|restart|pause|resume 1|2|3|catalog|frontend"
service=${2-}
service=${service#order}
case $service in
  1 | 2 | 3) unit=bazaar-order@$service machine=$(machine_of "$service") ;;
  catalog | frontend) unit=bazaar-$service machine=1 ;;
  *) die "'$service' is no service: $how" ;;
esac
case ${1-} in
  # The stop only ends what Restart=always would do a second later: it stays dead until it is
  # brought back.
  kill) remote "$machine" "sudo systemctl kill --signal=KILL $unit; sudo systemctl stop $unit" ;;
  restart) remote "$machine" "sudo systemctl restart $unit" ;;
  pause) remote "$machine" "sudo systemctl kill --signal=STOP $unit" ;;
  resume) remote "$machine" "sudo systemctl kill --signal=CONT $unit" ;;
  *) die "'${1-}' is nothing that can be done: $how" ;;
esac
