//! Parts of a computer with Linux: firmware, system, processor, network cards, disks, file system.
//!
//! Everything is read below a root, which is `/` outside tests. Only what a device has of its own
//! counts: no bridge, no memory stick, no address that software has drawn.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use licence_core::binding::PartKind;
use licence_core::identity_seal::Part;

use super::unique::is_unique;
use super::{Found, existing};
use crate::host;

/// Bytes of a file that are looked at. The description of one processor has some 3 KiB.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// Entries of a folder of devices that are looked at.
const ENTRIES_MAX: usize = 256;

/// What `/proc/cpuinfo` says of a processor and no update of its microcode changes.
const CPU_LINES: [&str; 8] = [
    "vendor_id",
    "cpu family",
    "model",
    "model name",
    "CPU implementer",
    "CPU architecture",
    "CPU variant",
    "CPU part",
];

/// `addr_assign_type` of an address that the card has of its own (`NET_ADDR_PERM`).
const ADDRESS_PERMANENT: &str = "0";

/// What udev knows of a disk, the best name first.
const DISK_NAMES: [&str; 3] = ["ID_WWN_WITH_EXTENSION", "ID_WWN", "ID_SERIAL"];

/// Reads the parts of the computer below `root`; `file` is the seal.
pub(super) fn read(root: &Path, file: &Path) -> Found {
    let mut found = Found::default();
    let dmi = root.join("sys/class/dmi/id");
    for (kind, name) in [
        (PartKind::System, "product_uuid"),
        (PartKind::Board, "board_serial"),
        (PartKind::Chassis, "chassis_serial"),
    ] {
        found.firmware(kind, &dmi.join(name));
    }
    let ids = ["etc/machine-id", "var/lib/dbus/machine-id"];
    let id = ids.iter().find_map(|name| line(&root.join(name)).ok());
    found.add(PartKind::MachineId, id);
    found.add(PartKind::Cpu, cpu(&root.join("proc/cpuinfo")));
    found.add(PartKind::FileSystem, file_system(root, file));
    for device in devices(&root.join("sys/block")) {
        found.add(PartKind::Disk, disk(root, &device));
    }
    for device in devices(&root.join("sys/class/net")) {
        found.add(PartKind::NetworkCard, network_card(&device));
    }
    found
}

impl Found {
    fn add(&mut self, kind: PartKind, value: Option<String>) {
        if let Some(value) = value.filter(|value| kind == PartKind::Cpu || is_unique(value)) {
            self.parts.push(Part::new(kind, &value));
        }
    }

    /// A number that firmware gives, which most systems show to root alone.
    fn firmware(&mut self, kind: PartKind, path: &Path) {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path).map(|found| found.permissions().mode());
        if mode.is_ok_and(|mode| mode & 0o004 == 0) {
            self.root_only.insert(kind);
        }
        match line(path) {
            Ok(value) => self.add(kind, Some(value)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.unreadable.push(kind);
            }
            // A computer without such firmware.
            Err(_) => {}
        }
    }
}

/// A file of the system as text, as far as it is looked at.
fn text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).replace('\0', " "))
}

/// The first line of a file; an error when it is empty.
fn line(path: &Path) -> io::Result<String> {
    let text = text(path)?;
    let first = text.trim().lines().next().unwrap_or_default().trim();
    if first.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(first.to_owned()) }
}

fn cpu(path: &Path) -> Option<String> {
    let text = text(path).ok()?;
    // The first processor; they are all alike.
    let first = text.split("\n\n").next()?;
    let values: Vec<_> = first
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| CPU_LINES.contains(&name.trim()))
        .map(|(name, value)| format!("{}={}", name.trim(), value.trim()))
        .collect();
    (!values.is_empty()).then(|| values.join(";"))
}

/// The devices of a folder of the kernel, by name, that are hardware and not on USB: what can be
/// pulled out by hand would leave with a visitor.
fn devices(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .take(ENTRIES_MAX)
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("device").exists() && !is_on_usb(path))
        .collect();
    found.sort();
    found
}

fn is_on_usb(path: &Path) -> bool {
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    real.components().any(|part| part.as_os_str().to_string_lossy().starts_with("usb"))
}

/// The address of a card as its maker gave it. In a bond each card wears the address of the bond.
fn network_card(device: &Path) -> Option<String> {
    if let Ok(own) = line(&device.join("bonding_slave/perm_hwaddr")) {
        return Some(own);
    }
    let assigned = line(&device.join("addr_assign_type"));
    if assigned.is_ok_and(|assigned| assigned != ADDRESS_PERMANENT) {
        return None;
    }
    line(&device.join("address")).ok()
}

/// The world-wide name or serial number of a disk.
fn disk(root: &Path, device: &Path) -> Option<String> {
    if line(&device.join("removable")).is_ok_and(|removable| removable != "0") {
        return None;
    }
    ["wwid", "device/wwid", "serial", "device/serial"]
        .iter()
        .find_map(|name| line(&device.join(name)).ok())
        .or_else(|| udev(root, &line(&device.join("dev")).ok()?, &DISK_NAMES))
}

/// What udev keeps of a block device, by its numbers `major:minor`. Read from its records and not
/// from `/dev/disk`, which a service may not see.
fn udev(root: &Path, numbers: &str, names: &[&str]) -> Option<String> {
    let records = text(&root.join("run/udev/data").join(format!("b{numbers}"))).ok()?;
    let value = |name: &&str| {
        let begins = format!("E:{name}=");
        records.lines().find_map(|line| line.strip_prefix(&begins)).map(str::to_owned)
    };
    names.iter().find_map(value).filter(|value| !value.is_empty())
}

/// The UUID of the volume that the seal lies on, or what the kernel calls the file system, as in a
/// container, where udev keeps no records.
fn file_system(root: &Path, file: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let folder = existing(file);
    let device = fs::metadata(folder).ok()?.dev();
    let numbers = format!("{}:{}", libc::major(device), libc::minor(device));
    udev(root, &numbers, &["ID_FS_UUID"])
        .or_else(|| host::volume_id(folder).map(|id| format!("{id:016x}")))
}

#[cfg(test)]
mod tests;
