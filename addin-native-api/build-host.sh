#!/bin/sh
# Builds the host that plays the platform: build-host.sh OUT [linux64|linux32|windows32|windows64]
#
# linux64 needs g++, linux32 g++-multilib. windows32 and windows64 need mingw for that processor and
# clang, which compiles the one file that knows virtual tables by Microsoft's rules (host/seam.h).
set -eu
usage() {
    echo "usage: build-host.sh OUT [linux64|linux32|windows32|windows64]" >&2
    exit 2
}
[ $# -eq 1 ] || [ $# -eq 2 ] || usage
out=$1
platform=${2:-linux64}
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
warnings="-Wall -Wextra -Werror"
common=
for file in crowd host invoke library misuse platform script sweep; do
    common="$common $here/host/$file.cpp"
done

linux() {
    # shellcheck disable=SC2086 # lists of words
    exec "${CXX:-g++}" ${1:+"$1"} -std=c++17 -O1 -g $warnings -I"$here/include" -o "$out" \
        $common "$here/host/seam.cpp" "$here/host/system_linux.cpp" -ldl -pthread
}

windows() {
    parts=$(mktemp -d)
    trap 'rm -rf "$parts"' EXIT
    # shellcheck disable=SC2086 # lists of words
    "${CLANGXX:-clang++}" --target="$1-pc-windows-msvc" -fms-compatibility-version=19.29 -std=c++17 -O1 \
        $warnings -ffreestanding -nostdlibinc -fno-exceptions -fno-rtti -Xclang -fno-threadsafe-statics \
        -I"$here/include" -isystem "$here/host/bare" -c "$here/host/seam.cpp" -o "$parts/seam.o"
    # shellcheck disable=SC2086 # lists of words
    "$1-w64-mingw32-g++-posix" -std=c++17 -O1 $warnings -DUNICODE -D_UNICODE -I"$here/include" \
        -static -o "$out" $common "$parts/seam.o" "$here/host/system_windows.cpp"
}

case $platform in
    linux64) linux "" ;;
    linux32) linux -m32 ;;
    windows64) windows x86_64 ;;
    windows32) windows i686 ;;
    *) usage ;;
esac
