#!/bin/sh
# Ends a session, so that its seat is free, and prints it. Role: operator.
#
#   end-session.sh ID [REASON]

set -eu
. "$(dirname "$0")/common.sh"

id=${1:?usage: end-session.sh ID [REASON]}
call "/api/sessions/$id" --request DELETE --get --data-urlencode "Reason=${2-}"
echo
