#!/bin/sh
# Saves a backup of the server while it runs. Role: administrator.
#
#   backup.sh FILE
#
# The archive holds the identity of the server: whoever has it can pose as the server. It is made
# readable for its owner alone.

set -eu
. "$(dirname "$0")/common.sh"

file=${1:?usage: backup.sh FILE}
umask 077
save "$file" /api/backup
