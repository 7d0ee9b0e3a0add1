#!/bin/sh
# Builds the host that plays the platform: build-host.sh OUT
set -eu
if [ $# -ne 1 ]; then
    echo "usage: build-host.sh OUT" >&2
    exit 2
fi
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
exec "${CXX:-g++}" -std=c++17 -O1 -g -Wall -Wextra -Werror -I"$here/include" \
    -o "$1" "$here"/host/*.cpp -ldl -pthread -pthread
