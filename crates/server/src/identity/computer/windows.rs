//! Parts of a computer with Windows, from the registry: what every user may read there.
//!
//! The firmware's own tables would tell more (boards, cases); they are not read.

use std::path::Path;

use licence_core::binding::PartKind;
use licence_core::identity_seal::Part;
use windows_registry::LOCAL_MACHINE;

use super::Found;
use super::unique::is_unique;

/// Key and value of each part. `LastConfig` is the UUID of the firmware.
const VALUES: [(PartKind, &str, &str); 3] = [
    (PartKind::System, r"SYSTEM\HardwareConfig", "LastConfig"),
    (PartKind::MachineId, r"SOFTWARE\Microsoft\Cryptography", "MachineGuid"),
    (PartKind::Cpu, r"HARDWARE\DESCRIPTION\System\CentralProcessor\0", "ProcessorNameString"),
];

pub(super) fn read(_: &Path) -> Found {
    let mut found = Found::default();
    for (kind, key, value) in VALUES {
        let read = LOCAL_MACHINE.open(key).and_then(|key| key.get_string(value));
        match read {
            Ok(value) if kind == PartKind::Cpu || is_unique(&value) => {
                found.parts.push(Part::new(kind, &value));
            }
            Ok(_) => {}
            Err(error) => log::debug!("{key}: {error}"),
        }
    }
    found
}
