//! Which values of parts belong to one computer, and which to all that the manufacturer, or a
//! program for virtual machines, has made.

/// Texts that stand in firmware where nobody has written a number.
const FILLERS: [&str; 19] = [
    "to be filled by o.e.m.",
    "default string",
    "not specified",
    "not applicable",
    "not available",
    "not present",
    "system serial number",
    "base board serial number",
    "chassis serial number",
    "serial number",
    "no asset",
    "none",
    "unknown",
    "invalid",
    "empty",
    "oem",
    "n/a",
    "uninitialized",
    // The UUID in the firmware of boards whose maker wrote none.
    "03000200-0400-0500-0006-000700080009",
];

/// Parts of names that programs for virtual machines give to the disks of every one of them.
const NAMES_OF_ALL: [&str; 4] = ["qm0000", "qemu harddisk", "drive-scsi", "persistent-disk"];

/// Fewest letters and digits of a number: what is shorter is none.
const CHARACTERS_MIN: usize = 4;

/// Whether a value is one computer's own.
pub(super) fn is_unique(value: &str) -> bool {
    let value = value.trim().to_lowercase();
    let letters: Vec<_> = value.chars().filter(|c| c.is_alphanumeric()).collect();
    let is_one_letter = letters.windows(2).all(|pair| pair[0] == pair[1]);
    let is_counted = |text: &str| "01234567890123456789".contains(text);
    letters.len() >= CHARACTERS_MIN
        && !is_one_letter
        && !is_counted(&letters.iter().collect::<String>())
        && !FILLERS.contains(&value.as_str())
        && !NAMES_OF_ALL.iter().any(|name| value.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fillers_of_manufacturers_are_no_numbers() {
        for filler in [
            "",
            "   ",
            "To be filled by O.E.M.",
            "To Be Filled By O.E.M.",
            "Default string",
            "None",
            "N/A",
            "0",
            "00000000-0000-0000-0000-000000000000",
            "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
            "03000200-0400-0500-0006-000700080009",
            "0123456789",
            "123456789",
            "System Serial Number",
            "xxxxxxxxxxx",
            "..............",
            "abc",
            "00:00:00:00:00:00",
            "t10.ATA     QEMU HARDDISK                           QM00001",
            "0QEMU QEMU HARDDISK drive-scsi0",
            "0Google PersistentDisk persistent-disk-0",
        ] {
            assert!(!is_unique(filler), "{filler}");
        }
        for number in [
            "4C4C4544-0042-3510-8052-B4C04F4A3132",
            "/5J0PQ2/CN7016357/",
            "52:54:00:12:34:56",
            "eui.0025385b21404321",
            "vol0f8e2c9ad1c4e1f77",
            "3d1219c7c4c5404aaa1f6d2a48adfda4",
        ] {
            assert!(is_unique(number), "{number}");
        }
    }
}
