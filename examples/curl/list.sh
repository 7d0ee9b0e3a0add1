#!/bin/sh
# Prints what the server has as JSON. Role: reader.
#
#   list.sh [licences|connections|sessions|series] [KeyID]

set -eu
. "$(dirname "$0")/common.sh"

what=${1:-licences}
case $what in
    licences | connections | sessions | series) ;;
    *)
        echo "usage: list.sh [licences|connections|sessions|series] [KeyID]" >&2
        exit 64
        ;;
esac
call "/api/$what" --get --data-urlencode "KeyID=${2-}"
echo
