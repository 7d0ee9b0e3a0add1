#!/bin/sh
# Saves the refusals of a span as CSV: who was refused, when and why. Role: reader.
#
#   export-denials.sh FILE [FROM [TO]]     days such as 2026-01-31, both with all their hours

set -eu
. "$(dirname "$0")/common.sh"

file=${1:?usage: export-denials.sh FILE [FROM [TO]]}
save "$file" /api/events --get \
    --data Kind=denied --data Format=csv --data Separator=semicolon \
    --data-urlencode "From=${2-}" --data-urlencode "To=${3-}"
