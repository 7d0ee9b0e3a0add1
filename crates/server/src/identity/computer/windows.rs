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

/// `KEY_READ | KEY_WOW64_64KEY`. A program of 32 bits is else shown another `SOFTWARE`, which has no
/// `MachineGuid`; and the seal must open when the program is replaced by one of 64 bits.
const READ_64_BIT: u32 = 0x0002_0019 | 0x0100;

pub(super) fn read(_: &Path) -> Found {
    let mut found = Found::default();
    for (kind, key, value) in VALUES {
        let opened = LOCAL_MACHINE.options().access(READ_64_BIT).open(key);
        let read = opened.and_then(|key| key.get_string(value));
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
