PROGRAM=/opt/1C/licence/3.0/licenceserver
BASE=/var/1C/licence
OWN_UNIT=/etc/systemd/system/licenceserver.service

# Says the first text to who reads Russian, the second to everybody else.
say() {
    case "${LC_ALL:-${LC_MESSAGES:-${LANG:-}}}" in
    ru*) echo "licenceserver: $1" >&2 ;;
    *) echo "licenceserver: $2" >&2 ;;
    esac
}

# Fails when a server that is newer than this package has written the data.
refuse_newer_data() {
    database=$BASE/3.0/licenceserver.db
    [ -s "$database" ] || return 0
    # The header of an SQLite file has its user_version in 4 bytes from byte 60 on, the highest first.
    # shellcheck disable=SC2046
    set -- $(dd if="$database" bs=1 skip=60 count=4 2>/dev/null | od -An -tu1)
    [ $# -eq 4 ] || return 0
    found=$(((($1 * 256 + $2) * 256 + $3) * 256 + $4))
    if [ "$found" -gt @SCHEMA@ ]; then
        say "данные в $BASE записаны более новой версией сервера (схема $found, эта версия знает @SCHEMA@). Установите ту версию или новее; данные не изменены." \
            "the data in $BASE were written by a newer server (schema $found, this version knows @SCHEMA@). Install that version or a later one; nothing was changed."
        return 1
    fi
}

# Makes user and folders, gives them what an earlier server has left, and puts the sample beside the settings.
prepare() {
    "$PROGRAM" service prepare --data "$BASE"
    sample=$BASE/3.0/licenceserver.conf.sample
    cp "${PROGRAM%/*}/licenceserver.conf.sample" "$sample.part"
    chmod 0644 "$sample.part"
    chown licence:licence "$sample.part"
    mv -f "$sample.part" "$sample"
    # It may hold passwords.
    [ ! -f "$BASE/3.0/licenceserver.conf" ] || chmod o-rwx "$BASE/3.0/licenceserver.conf"
}

# Whether `licenceserver service install` has written the unit of the administrator.
is_own_unit() {
    # shellcheck disable=SC2016
    [ -f "$OWN_UNIT" ] && [ ! -L "$OWN_UNIT" ] &&
        grep -q 'Written by `licenceserver service install`' "$OWN_UNIT"
}

# A unit that starts another program or other data would hide the one of the package.
put_aside_own_unit() {
    is_own_unit || return 0
    ! grep -qxF "ExecStart=$PROGRAM run --data $BASE" "$OWN_UNIT" || return 0
    mv -f "$OWN_UNIT" "$OWN_UNIT.before-package"
    say "служба прежней установки отложена в $OWN_UNIT.before-package; данные пакета – в $BASE" \
        "the service of an earlier installation was put aside as $OWN_UNIT.before-package; the data of the package are in $BASE"
}

# Says that the service does not run, and where to look. The installation itself is done.
not_started() {
    say "служба не запустилась; причину назовёт команда licenceserver doctor" \
        "the service did not start; licenceserver doctor says why"
}

# The service waits for data that another program holds, and says so; a package does not wait as long.
START_SECS=60
