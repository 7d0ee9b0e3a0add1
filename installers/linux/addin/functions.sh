SETTINGS=/var/1C/licence/3.0

# Says the first text to who reads Russian, the second to everybody else.
say() {
    case "${LC_ALL:-${LC_MESSAGES:-${LANG:-}}}" in
    ru*) echo "licenceaddin: $1" >&2 ;;
    *) echo "licenceaddin: $2" >&2 ;;
    esac
}

# Processes of the platform keep the component that they have loaded.
warn_of_processes() {
    running=
    for file in /proc/[0-9]*/comm; do
        name=$(cat "$file") || continue
        case "$name" in
        1cv8 | 1cv8c | 1cv8s | ibsrv | rphost)
            process=${file#/proc/}
            running="$running $name(${process%%/*})"
            ;;
        esac
    done 2>/dev/null
    [ -z "$running" ] || say \
        "работают процессы 1С:$running. До перезапуска они работают с прежней компонентой." \
        "processes of 1C are running:$running. Until they are restarted they work with the component of before."
}

# The common folder of settings; the server has it too, and then it is the server's.
make_settings() {
    umask 022
    mkdir -p "$SETTINGS"
}

# The folder goes when nothing is in it.
remove_settings() {
    rm -f "$SETTINGS/licenceaddin.conf"
    rmdir "$SETTINGS/logs" "$SETTINGS" "${SETTINGS%/*}" /var/1C 2>/dev/null || :
}
