//! The unit for systemd: hardened, supervised by a watchdog, each odd line with its reason.
//!
//! Text only; written and enabled in [`super`].

use std::path::Path;

use super::{Devices, Facts};

/// Where the unit of an administrator lies; it goes before one that a package brings.
pub const UNIT_PATH: &str = "/etc/systemd/system/licenceserver.service";

/// Folders that `ProtectHome=yes` hides.
const HOMES: [&str; 2] = ["/home", "/root"];

/// The unit.
pub fn unit(facts: &Facts) -> String {
    let program = quoted(&facts.program.to_string_lossy());
    let base = quoted(&facts.base.to_string_lossy());
    let condition = escaped(&facts.base.to_string_lossy());
    let user = &facts.user;
    let is_at_home = |path: &Path| HOMES.iter().any(|home| path.starts_with(home));
    // A program or data below a home must stay visible.
    let home =
        if is_at_home(&facts.program) || is_at_home(&facts.base) { "read-only" } else { "yes" };
    let devices = devices(&facts.devices);
    // For a system of 64 bits the calls of a program of 32 are not its native ones.
    let calls = if cfg!(target_arch = "x86") { "native x86" } else { "native" };
    format!(
        "\
# Licence server of 1C:Enterprise configurations.
# Written by `licenceserver service install`. Changes of your own belong into a drop-in:
# systemctl edit licenceserver
[Unit]
Description=Licence server of 1C:Enterprise configurations
Documentation=man:systemd.exec(5)
# Components of other computers come over the network; terms of keys need the right time.
Wants=network-online.target
After=network-online.target time-sync.target
# The data folder may be on a disk of its own.
RequiresMountsFor={condition}
# Never gives up: a full disk or a taken port may be put right after hours.
StartLimitIntervalSec=0

[Service]
# The server says when it listens, and that it is alive as long as seats can be granted.
Type=notify
NotifyAccess=main
WatchdogSec=30
ExecStart={program} run --data {base}
# Reads the settings again.
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=2
# Requests under way may take 10 s, the last write some seconds more.
TimeoutStopSec=30
# While its data are held by another program the server waits, answers 503 and says so.
TimeoutStartSec=infinity
User={user}
Group={user}
# One descriptor per connection; the server takes 16384 of them.
LimitNOFILE=32768
# The identity and the conf file hold secrets.
UMask=0077

# Writes to its data folder and nowhere else.
ReadWritePaths={base}
ProtectSystem=strict
ProtectHome={home}
PrivateTmp=yes
{devices}
# No capability: port 9099 needs none. For a port below 1024, in a drop-in:
# AmbientCapabilities=CAP_NET_BIND_SERVICE and CapabilityBoundingSet=CAP_NET_BIND_SERVICE.
CapabilityBoundingSet=
AmbientCapabilities=
NoNewPrivileges=yes
RestrictSUIDSGID=yes

# The kernel and other processes are none of its business.
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
RestrictNamespaces=yes
RestrictRealtime=yes
LockPersonality=yes
RemoveIPC=yes
KeyringMode=private

# TCP for components and centres, AF_UNIX for this very notification and the system's log,
# AF_NETLINK for the list of network addresses that the console shows.
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
# Nothing is compiled while it runs.
MemoryDenyWriteExecute=yes
SystemCallArchitectures={calls}
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
# A call that is not allowed fails instead of ending the server.
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"
    )
}

/// The lines about devices.
fn devices(devices: &Devices) -> String {
    let Devices { usb, tpm, tpm_group } = devices;
    if !usb && tpm.is_none() {
        return "\
# It needs no device. After [UPKey] Enabled or [Common] IdentityTpm was switched on, run
# `licenceserver service install` once more.
PrivateDevices=yes
"
        .to_owned();
    }
    let mut lines = "\
# Of all devices it may open those of no hardware (null, random) and the ones named here. After
# [UPKey] Enabled or [Common] IdentityTpm was changed, run `licenceserver service install` once more.
PrivateDevices=no
DevicePolicy=closed
"
    .to_owned();
    if *usb {
        lines += "\
# Tokens with licences ([UPKey] Enabled). Which of them its user may open, udev decides; tokens that
# the smart card service has are reached through its socket.
DeviceAllow=char-usb_device rw
";
    }
    if let Some(device) = tpm {
        lines += &format!(
            "\
# The TPM keeps the identity ([Common] IdentityTpm).
DeviceAllow={} rw
",
            device.display()
        );
    }
    if let Some(group) = tpm_group {
        lines +=
            &format!("# The system gives its TPM to this group.\nSupplementaryGroups={group}\n");
    }
    lines
}

/// A path as one word of a unit: quoted, with what systemd would replace in it doubled.
fn quoted(text: &str) -> String {
    let doubled = text.replace('\\', "\\\\").replace('"', "\\\"");
    let word = doubled.replace('%', "%%").replace('$', "$$");
    // Plain words stay readable.
    if word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+".contains(c)) {
        word
    } else {
        format!("\"{word}\"")
    }
}

/// A path where quotes are allowed and variables are not replaced.
fn escaped(text: &str) -> String {
    quoted(text).replace("$$", "$")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(program: &str, base: &str) -> String {
        unit(&Facts::new(program.into(), base.into(), "licence".to_owned()).unwrap())
    }

    #[test]
    fn names_with_blanks_and_signs_of_systemd_stay_one_word() {
        let unit = made("/opt/my server/licenceserver", "/srv/100% $HOME");
        assert!(unit.contains(
            "ExecStart=\"/opt/my server/licenceserver\" run --data \"/srv/100%% $$HOME\"\n"
        ));
        let plain = made("/usr/bin/licenceserver", "/var/1C/licence");
        assert!(plain.contains("ExecStart=/usr/bin/licenceserver run --data /var/1C/licence\n"));
        assert!(plain.contains("ReadWritePaths=/var/1C/licence\n"));
    }

    #[test]
    fn devices_are_those_that_the_settings_need() {
        let made = |devices| {
            let facts = Facts::new("/usr/bin/x".into(), "/var/1C/licence".into(), "l".to_owned());
            unit(&facts.unwrap().with_devices(devices).unwrap())
        };
        let has = |unit: &str, line: &str| unit.lines().any(|found| found == line);
        let none = made(Devices::default());
        assert!(has(&none, "PrivateDevices=yes") && !none.contains("DeviceAllow"));
        let usb = made(Devices { usb: true, ..Devices::default() });
        assert!(has(&usb, "PrivateDevices=no") && has(&usb, "DevicePolicy=closed"));
        assert!(has(&usb, "DeviceAllow=char-usb_device rw") && !usb.contains("tpm"));
        let tpm = Some("/dev/tpmrm0".into());
        let tpm = made(Devices { usb: false, tpm, tpm_group: Some("tss") });
        assert!(has(&tpm, "DeviceAllow=/dev/tpmrm0 rw") && has(&tpm, "SupplementaryGroups=tss"));
        assert!(!tpm.contains("char-usb_device"));
    }

    #[test]
    fn data_below_a_home_stay_visible() {
        assert!(made("/usr/bin/x", "/var/1C/licence").contains("ProtectHome=yes\n"));
        assert!(made("/usr/bin/x", "/home/licence/data").contains("ProtectHome=read-only\n"));
        assert!(made("/home/x", "/var/1C/licence").contains("ProtectHome=read-only\n"));
    }
}
