//! The script for System V init, where systemd is not process 1: start, stop, status, by the rules of
//! the Linux Standard Base.
//!
//! Text only; written and registered in [`super`]. Nothing watches a server started this way.

use super::Facts;

/// Where the script lies.
pub const SCRIPT_PATH: &str = "/etc/init.d/licenceserver";

/// The script.
pub fn script(facts: &Facts) -> String {
    let program = quoted(&facts.program.to_string_lossy());
    let base = quoted(&facts.base.to_string_lossy());
    let user = &facts.user;
    format!(
        r##"#!/bin/sh
### BEGIN INIT INFO
# Provides:          licenceserver
# Required-Start:    $remote_fs $network $syslog
# Required-Stop:     $remote_fs $network $syslog
# Should-Start:      $time
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: Licence server of 1C:Enterprise configurations
# Description:       Counts the licences of 1C:Enterprise configurations.
### END INIT INFO
# chkconfig: 2345 85 15
# description: Licence server of 1C:Enterprise configurations
#
# Written by `licenceserver service install`. Settings of your own: /etc/default/licenceserver

PROGRAM={program}
BASE={base}
RUN_AS={user}
PIDFILE=/var/run/licenceserver.pid
# Requests under way may take 10 s, the last write some seconds more.
STOP_SECS=30
# A database that another process holds is waited for.
START_SECS=60
[ -r /etc/default/licenceserver ] && . /etc/default/licenceserver
PIDFILE=${{LICENCESERVER_PIDFILE:-$PIDFILE}}
RUN_AS=${{LICENCESERVER_USER:-$RUN_AS}}

PATH=/usr/sbin:/usr/bin:/sbin:/bin
umask 077
ulimit -n 32768 2>/dev/null || :

pid() {{
    [ -r "$PIDFILE" ] || return 1
    read -r pid <"$PIDFILE" || return 1
    # Another process may have got the number since. The system keeps 15 letters of a name.
    name=$(printf %.15s "${{PROGRAM##*/}}")
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$name" ] || return 1
    echo "$pid"
}}

start() {{
    if pid >/dev/null; then
        echo "licenceserver is running"
        return 0
    fi
    if [ ! -x "$PROGRAM" ]; then
        echo "licenceserver: $PROGRAM is not there" >&2
        return 5
    fi
    # Its one line on standard output says that it listens; the log is in the data folder.
    ready=$(mktemp) || return 1
    launch='echo $$ >&3; exec "$0" "$@" 3>&-'
    if [ "$(id -un)" = "$RUN_AS" ]; then
        setsid sh -c "$launch" "$PROGRAM" run --data "$BASE" \
            </dev/null 3>"$PIDFILE" >"$ready" 2>/dev/null &
    else
        setsid runuser -u "$RUN_AS" -- sh -c "$launch" "$PROGRAM" run --data "$BASE" \
            </dev/null 3>"$PIDFILE" >"$ready" 2>/dev/null &
    fi
    starter=$!
    waited=0
    while [ "$waited" -lt "$START_SECS" ]; do
        if grep -q "listens on" "$ready"; then
            rm -f "$ready"
            echo "licenceserver started"
            return 0
        fi
        kill -0 "$starter" 2>/dev/null || break
        sleep 1
        waited=$((waited + 1))
    done
    rm -f "$ready"
    pid >/dev/null || rm -f "$PIDFILE"
    echo "licenceserver: not ready" >&2
    "$PROGRAM" doctor --data "$BASE" >&2
    return 1
}}

stop() {{
    running=$(pid) || {{
        rm -f "$PIDFILE"
        echo "licenceserver is not running"
        return 0
    }}
    kill -TERM "$running" || return 1
    waited=0
    while kill -0 "$running" 2>/dev/null; do
        if [ "$waited" -ge "$STOP_SECS" ]; then
            echo "licenceserver: still running after $STOP_SECS s" >&2
            return 1
        fi
        sleep 1
        waited=$((waited + 1))
    done
    rm -f "$PIDFILE"
    echo "licenceserver stopped"
}}

status() {{
    if pid >/dev/null; then
        echo "licenceserver is running, process $(pid)"
        return 0
    fi
    if [ -e "$PIDFILE" ]; then
        echo "licenceserver has ended and left $PIDFILE"
        return 1
    fi
    echo "licenceserver is not running"
    return 3
}}

case "$1" in
    start) start ;;
    stop) stop ;;
    restart) stop && start ;;
    try-restart | condrestart) if pid >/dev/null; then stop && start; fi ;;
    reload | force-reload)
        running=$(pid) || exit 7
        kill -HUP "$running"
        ;;
    status) status ;;
    *)
        echo "usage: $0 {{start|stop|restart|try-restart|reload|force-reload|status}}" >&2
        exit 2
        ;;
esac
"##
    )
}

/// A text as one word of the shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_one_word_of_the_shell() {
        assert_eq!(quoted("/a b/$c"), "'/a b/$c'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
