# What the examples share: where the server is and who calls. Read by them, not run.
#
# LICENCE_SERVER  address of the server, http://localhost:9099 when it is not set
# LICENCE_TOKEN   an API token (console, "Access", or POST /api/tokens)

: "${LICENCE_SERVER:=http://localhost:9099}"
: "${LICENCE_TOKEN:?set LICENCE_TOKEN to an API token}"

# Calls the API: path first, then whatever curl takes. The token goes in by a pipe, because other
# users of this computer can read a command line. A refusal is printed and ends the script with 22.
call() {
    path=$1
    shift
    printf 'header = "Authorization: Bearer %s"\n' "$LICENCE_TOKEN" |
        curl --config - --silent --show-error --fail-with-body "$@" "$LICENCE_SERVER$path"
}

# A text as a JSON string.
json() {
    printf '"'
    printf '%s' "$1" | sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' | tr -d '\000-\037'
    printf '"'
}

# Saves an answer in a file, which takes its name only when it is whole; a refusal is printed.
save() {
    file=$1
    shift
    trap 'rm -f "$file.part"' EXIT
    call "$@" --output "$file.part" || {
        status=$?
        [ ! -f "$file.part" ] || cat "$file.part" >&2
        exit "$status"
    }
    mv "$file.part" "$file"
}
