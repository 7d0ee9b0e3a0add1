#!/bin/sh
# Installs a licence by its activation code and prints it. Role: administrator.
#
#   activate.sh CODE [ITN [IEC]]

set -eu
. "$(dirname "$0")/common.sh"

code=${1:?usage: activate.sh CODE [ITN [IEC]]}
body="{\"ActivationCodeString\": $(json "$code")"
[ -z "${2-}" ] || body="$body, \"ITN\": $(json "$2")"
[ -z "${3-}" ] || body="$body, \"IEC\": $(json "$3")"
call /api/licences --header 'Content-Type: application/json' --data "$body}"
echo
