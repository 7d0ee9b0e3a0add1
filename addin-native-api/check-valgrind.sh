#!/bin/sh
# Runs the host with the component under valgrind: check-valgrind.sh HOST LIB
# Exit code 9 when valgrind finds an invalid access or a definite leak.
set -eu
if [ $# -ne 2 ]; then
    echo "usage: check-valgrind.sh HOST LIB" >&2
    exit 2
fi
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
check() {
    HOME="$home" LICENCEADDIN_COMMON_DIR="$home/common" LICENCEADDIN_INSTALLED_DIR="$home/installed" \
        valgrind --quiet --error-exitcode=9 --leak-check=full \
        --errors-for-leak-kinds=definite,indirect "$1" "$2"
}
# Any 32 bytes are a key to an address where nobody answers.
x=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8
key() { printf '{\\"kty\\":\\"OKP\\",\\"crv\\":\\"%s\\",\\"x\\":\\"%s\\"}' "$1" "$x"; }
descriptor="{\\\"Series\\\":\\\"672B\\\",\\\"ProductName\\\":\\\"Test\\\",\\\"Keys\\\":{\\\"keys\\\":[$(key Ed25519),$(key X25519)]}}"
check "$1" "$2" <<END
load
new A LicenceExtension
new B LicenceExtension order=oscript
abuse A
abuse B
get A Версия
delete A
destroy B
unload
END
# Every member of both classes with every argument; the first one from two threads at once.
check "$1" "$2" <<END
load
before Запуск s:672B
before УстановитьСеанс s:"{\\"SessionNumber\\":1,\\"InfoBaseConnectionStr\\":\\"File=base;\\"}"
right ПроверитьВерсию s:3.0.14
right Запуск s:672B b:0
right ВыполнитьОперацию s:Debug s:{}
new A LicenceExtension
set A ПараметрыСвязи s:host=127.0.0.1;port=9
sweep A 2
destroy A
new B LicenceExtension20
set B ПараметрыСвязи s:host=127.0.0.1;port=9
sweep B
delete B
unload
END
check "$1" "$2" <<END
loop 20 "host=127.0.0.1;port=9" "$descriptor"
END
