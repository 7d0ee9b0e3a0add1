#!/bin/sh
# Completes the example configuration: packs the protected processor into a data file, puts it and the component's
# bundle into the templates, writes the texts as Designer does (UTF-8 with a byte-order mark, CRLF). The series is pinned
# in the bundle, so that the component trusts servers with a licence of this series and no others.
#
# usage: examples/1c/build.sh OUT BUNDLE.zip 672B.cryptkey [PASSPHRASE-FILE]
#
# OUT is made and must not exist; what was made of it before a failure is removed. BUNDLE.zip comes from `cargo xtask dist
# bundle`; 672B.cryptkey and 672B.series, which must lie beside it, from `licencekit series create`. Without
# PASSPHRASE-FILE the passphrase is taken from LICENCE_PASSPHRASE. LICENCEKIT names another licencekit.
set -eu

if [ $# -lt 3 ] || [ $# -gt 4 ]; then
	echo "usage: $0 OUT BUNDLE.zip 672B.cryptkey [PASSPHRASE-FILE]" >&2
	exit 2
fi
out=$1
bundle=$2
cryptkey=$3
passphrase=${4-}
kit=${LICENCEKIT:-licencekit}
here=$(cd "$(dirname "$0")" && pwd)

series=${cryptkey%.cryptkey}.series

if [ -e "$out" ]; then
	echo "$0: $out exists" >&2
	exit 1
fi
trap 'rm -rf "$out"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$out/objects"

for sources in "$here"/protected/*/; do
	name=$(basename "$sources")
	"$kit" epf pack "$sources" -o "$out/objects/$name.epf"
done
set -- "$out/672B.datafile" "$out/objects/"*.epf "$here/protected/Параметры.txt" \
	--series 672B --cryptkey "$cryptkey" --encoding utf8
if [ -n "$passphrase" ]; then
	set -- "$@" --passphrase-file "$passphrase"
fi
"$kit" datafile pack "$@"

(cd "$here/configuration" && find . -type f \( -name '*.xml' -o -name '*.bsl' \)) | while IFS= read -r file; do
	mkdir -p "$out/configuration/$(dirname "$file")"
	{
		printf '\357\273\277'
		awk '{ printf "%s\r\n", $0 }' "$here/configuration/$file"
	} > "$out/configuration/$file"
done
for template in КомпонентаСЛК ОбъектыСЛК; do
	mkdir -p "$out/configuration/CommonTemplates/$template/Ext"
done
"$kit" template pin --series "$series" "$bundle" \
	-o "$out/configuration/CommonTemplates/КомпонентаСЛК/Ext/Template.bin"
cp "$out/672B.datafile" "$out/configuration/CommonTemplates/ОбъектыСЛК/Ext/Template.bin"
trap - EXIT
echo "$out/configuration"
