#!/bin/sh
# Installs the service by force: for systems where another package's scripts have taken it away, or an
# administrator has. Run as root.
set -e

PROGRAM=/opt/1C/licence/3.0/licenceserver
BASE=/var/1C/licence

if [ "$(id -u)" -ne 0 ]; then
    echo "installdaemon.sh: only root may do this" >&2
    exit 1
fi
for unit in /usr/lib/systemd/system /lib/systemd/system; do
    [ -f "$unit/licenceserver.service" ] && [ -d /run/systemd/system ] || continue
    "$PROGRAM" service prepare --data "$BASE"
    # Also removes a link to /dev/null.
    systemctl unmask licenceserver.service
    systemctl daemon-reload
    systemctl enable licenceserver.service
    exec systemctl restart licenceserver.service
done
exec "$PROGRAM" service install --data "$BASE" "$@"
