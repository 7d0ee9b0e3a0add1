//! Which tokens are meant for licences: by vendor and product on the bus, by name in the smart card
//! service.
//!
//! Everything else is somebody else's: signing software uses its own tokens on the same computer, and
//! one wrong PIN or a claimed interface disturbs it. So this list decides, and nothing is tried out.

use std::fmt;

/// A kind of token that is known to have the PIV application, or versions that have it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KnownToken {
    /// USB vendor.
    pub vendor: u16,
    /// USB product.
    pub product: u16,
    /// For people.
    pub name: &'static str,
    /// Part of the reader's name in the smart card service, in lower case.
    pub reader: &'static str,
}

const fn known(vendor: u16, product: u16, name: &'static str, reader: &'static str) -> KnownToken {
    KnownToken { vendor, product, name, reader }
}

/// The tokens of the makers' and libccid's lists whose firmware has PIV, or builds that have.
pub const KNOWN: &[KnownToken] = &[
    known(0x1050, 0x0111, "YubiKey NEO", "yubikey neo"),
    known(0x1050, 0x0112, "YubiKey NEO", "yubikey neo"),
    known(0x1050, 0x0115, "YubiKey NEO", "yubikey neo"),
    known(0x1050, 0x0116, "YubiKey NEO", "yubikey neo"),
    known(0x1050, 0x0404, "YubiKey", "yubico yubikey"),
    known(0x1050, 0x0405, "YubiKey", "yubico yubikey"),
    known(0x1050, 0x0406, "YubiKey", "yubico yubikey"),
    known(0x1050, 0x0407, "YubiKey", "yubico yubikey"),
    known(0x20A0, 0x42B2, "Nitrokey 3", "nitrokey 3"),
    known(0x20A0, 0x42D4, "CanoKey", "canokey"),
    known(0x1209, 0xBEEE, "Solo 2", "solo 2"),
    known(0x2E8A, 0x10FD, "Pico Key", "pico key"),
    known(0x2E8A, 0x10FE, "Pico Key", "pico key"),
    known(0x2E8A, 0x10FF, "Pico Key", "pico key"),
];

/// Tokens that a setting may add; a longer list is a mistake.
const EXTRA_MAX: usize = 32;

/// Shortest part of a reader's name: a shorter one would fit readers that nobody meant.
const READER_CHARS_MIN: usize = 4;

/// Longest part of a reader's name; PC/SC-lite itself ends at 128.
const READER_CHARS_MAX: usize = 128;

/// An entry that is neither `VVVV:PPPP` nor part of a reader's name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// Neither four hex digits, a colon and four more, nor 4 to 128 printable characters.
    #[error("{0:?} is neither VVVV:PPPP nor part of a reader's name (4 to 128 characters)")]
    Entry(String),
    /// More than 32 entries.
    #[error("more than {EXTRA_MAX} tokens are listed")]
    TooMany,
}

/// The tokens that may be spoken to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TokenList {
    devices: Vec<(u16, u16)>,
    readers: Vec<String>,
}

impl TokenList {
    /// The known tokens alone.
    pub fn known() -> Self {
        Self::default()
    }

    /// The known tokens and these: entries separated by commas, each either vendor and product in hex
    /// (`08E6:4433`) or part of the reader's name, case ignored (`ACS ACR39U`). An empty text adds none.
    ///
    /// # Errors
    ///
    /// See [`ListError`].
    pub fn with_extra(text: &str) -> Result<Self, ListError> {
        let mut list = Self::known();
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        for (at, entry) in entries.enumerate() {
            if at == EXTRA_MAX {
                return Err(ListError::TooMany);
            }
            if let Some(device) = parse_device(entry) {
                list.devices.push(device);
                continue;
            }
            let chars = entry.chars().count();
            // What looks like a device and is none is a mistake, not a reader's name.
            let is_name = (READER_CHARS_MIN..=READER_CHARS_MAX).contains(&chars)
                && !entry.chars().any(char::is_control)
                && !(entry.contains(':')
                    && entry.chars().all(|c| c.is_ascii_hexdigit() || c == ':'));
            if !is_name {
                return Err(ListError::Entry(entry.chars().take(READER_CHARS_MAX).collect()));
            }
            list.readers.push(entry.to_lowercase());
        }
        Ok(list)
    }

    /// The name for people of a device on the list; nothing when it is not on it.
    pub fn device(&self, vendor: u16, product: u16) -> Option<&'static str> {
        if let Some(known) = KNOWN.iter().find(|it| (it.vendor, it.product) == (vendor, product)) {
            return Some(known.name);
        }
        self.devices.contains(&(vendor, product)).then_some("USB token")
    }

    /// Whether a reader of this name is on the list.
    pub fn has_reader(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        KNOWN.iter().any(|known| name.contains(known.reader))
            || self.readers.iter().any(|part| name.contains(part))
    }

    /// Whether readers were added by name: they may be no USB devices at all.
    pub const fn names_readers(&self) -> bool {
        !self.readers.is_empty()
    }

    /// Whether a reader of this name may be the device.
    pub fn is_reader_of(&self, name: &str, vendor: u16, product: u16) -> bool {
        let name = name.to_lowercase();
        KNOWN
            .iter()
            .any(|it| (it.vendor, it.product) == (vendor, product) && name.contains(it.reader))
    }
}

fn parse_device(entry: &str) -> Option<(u16, u16)> {
    let (vendor, product) = entry.split_once(':')?;
    let number = |text: &str| {
        let is_hex = text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| u16::from_str_radix(text, 16).ok()).flatten()
    };
    Some((number(vendor)?, number(product)?))
}

impl fmt::Display for KnownToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04X}:{:04X} {}", self.vendor, self.product, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_and_readers_are_added_by_one_line() {
        let list = TokenList::with_extra(" 08e6:4433, Virtual PCD ,").unwrap();
        assert_eq!(list.device(0x08E6, 0x4433), Some("USB token"));
        assert_eq!(list.device(0x1050, 0x0407), Some("YubiKey"));
        assert_eq!(list.device(0x0A89, 0x0030), None);
        assert!(list.names_readers());
        assert!(list.has_reader("Virtual PCD 00 00"));
        assert!(list.has_reader("Yubico YubiKey OTP+FIDO+CCID 00 00"));
        assert!(!list.has_reader("Aktiv Rutoken ECP 00 00"));
        assert!(!TokenList::known().has_reader("Virtual PCD 00 00"));
        assert_eq!(TokenList::with_extra(""), Ok(TokenList::known()));
    }

    #[test]
    fn entry_that_is_neither_device_nor_name_is_refused() {
        for bad in ["08E6:44", "08E6:44333", "8E6:4433", "a", "abc", "a\u{7}bcd"] {
            let result = TokenList::with_extra(bad);
            assert_eq!(result, Err(ListError::Entry(bad.to_owned())));
        }
        let many = "08E6:4433,".repeat(EXTRA_MAX + 1);
        assert_eq!(TokenList::with_extra(&many), Err(ListError::TooMany));
    }

    #[test]
    fn patterns_are_written_as_they_are_compared() {
        for known in KNOWN {
            assert_eq!(known.reader, known.reader.to_lowercase(), "{known}");
            assert!(known.reader.len() >= READER_CHARS_MIN, "{known}");
        }
    }
}
