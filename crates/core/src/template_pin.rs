//! Series descriptors that lie inside a component's library, behind the end of its image.
//!
//! The platform unpacks one library of a template, alone, so what a vendor wants to give along must
//! be in that file. The loaders of ELF and PE read what the headers name and ignore the rest.
//! This module decides the form of the overlay. It knows nothing of images and reads no file.
//!
//! | part | bytes |
//! | --- | --- |
//! | JSON array of descriptors, in order of series | `n` |
//! | SHA-256 of the JSON | 32 |
//! | `n`, little-endian | 4 |
//! | magic | 16 |
//!
//! The fixed part comes last, so that a reader needs the tail of the file and nothing else. The digest
//! is against damage: whoever can change a library can change the pin in it.

use std::collections::BTreeMap;

use crate::key::KeySeries;
use crate::seal::{hex_upper, sha256};
use crate::series::{SeriesDescriptor, SeriesError, parse_series_file};

/// Most bytes of a whole overlay: some hundred descriptors. The component reads so much of its own
/// file at its start, whether a pin is there or not.
pub const OVERLAY_BYTES_MAX: usize = 64 * 1024;

/// The last bytes of a pinned library.
const MAGIC: [u8; 16] = *b"licence-pin-v1\r\n";

const DIGEST_BYTES: usize = 32;
const LENGTH_BYTES: usize = 4;
const FOOTER_BYTES: usize = DIGEST_BYTES + LENGTH_BYTES + MAGIC.len();

/// Descriptors by their series.
pub type Descriptors = BTreeMap<KeySeries, SeriesDescriptor>;

/// Why a pin was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    /// The digest is another.
    #[error("the pin is damaged: its digest does not fit")]
    Digest,
    /// No series at all.
    #[error("a pin names at least one series")]
    Empty,
    /// The length reaches beyond the file or the limit.
    #[error("the pin is damaged: its length does not fit")]
    Length,
    /// The descriptors are no descriptors.
    #[error("the pin is damaged")]
    Series(#[from] SeriesError),
    /// More descriptors than [`OVERLAY_BYTES_MAX`] holds.
    #[error("the descriptors take more than {OVERLAY_BYTES_MAX} bytes")]
    TooLarge,
}

/// A pin that was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pin {
    /// What it pins.
    pub descriptors: Descriptors,
    /// Bytes that it takes at the end of the file.
    pub overlay_bytes: usize,
    /// Eight hex digits that differ when the descriptors do.
    pub tag: String,
}

/// The bytes that follow the image, and the tag of the pin. The same descriptors give the same bytes.
///
/// # Errors
///
/// [`PinError::Empty`], [`PinError::TooLarge`].
pub fn overlay(descriptors: &Descriptors) -> Result<(Vec<u8>, String), PinError> {
    if descriptors.is_empty() {
        return Err(PinError::Empty);
    }
    let list: Vec<_> = descriptors.values().collect();
    let mut bytes =
        serde_json::to_vec(&list).map_err(|why| SeriesError::Syntax(why.to_string()))?;
    let length = u32::try_from(bytes.len()).map_err(|_| PinError::TooLarge)?;
    let digest = sha256(&bytes);
    bytes.extend(digest);
    bytes.extend(length.to_le_bytes());
    bytes.extend(MAGIC);
    if bytes.len() > OVERLAY_BYTES_MAX {
        return Err(PinError::TooLarge);
    }
    Ok((bytes, tag(&digest)))
}

/// The pin at the end of a file, given the file's last [`OVERLAY_BYTES_MAX`] bytes or more; nothing
/// when it carries none.
///
/// # Errors
///
/// When there is one and it is damaged.
pub fn read_tail(tail: &[u8]) -> Result<Option<Pin>, PinError> {
    let Some(rest) = tail.strip_suffix(&MAGIC) else { return Ok(None) };
    let (rest, length) = rest.split_last_chunk::<LENGTH_BYTES>().ok_or(PinError::Length)?;
    let (rest, digest) = rest.split_last_chunk::<DIGEST_BYTES>().ok_or(PinError::Length)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| PinError::Length)?;
    if length > OVERLAY_BYTES_MAX - FOOTER_BYTES {
        return Err(PinError::Length);
    }
    let start = rest.len().checked_sub(length).ok_or(PinError::Length)?;
    let json = rest.get(start..).ok_or(PinError::Length)?;
    if sha256(json) != *digest {
        return Err(PinError::Digest);
    }
    let text = std::str::from_utf8(json).map_err(|why| SeriesError::Syntax(why.to_string()))?;
    let descriptors = parse_series_file(text)?;
    if descriptors.is_empty() {
        return Err(PinError::Empty);
    }
    Ok(Some(Pin { descriptors, overlay_bytes: length + FOOTER_BYTES, tag: tag(digest) }))
}

fn tag(digest: &[u8; DIGEST_BYTES]) -> String {
    let (head, _) = digest.split_at(4);
    hex_upper(head).to_lowercase()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::seal::{Jwk, SigningKey};

    fn descriptors(series: &[u16]) -> Descriptors {
        let key = SigningKey::from_seed(&[7; 32]).public();
        let object = Jwk { crv: "X25519".into(), ..key.jwk() };
        series
            .iter()
            .map(|number| {
                let series = KeySeries::from_u16(*number);
                let name = "Тестовая серия".to_owned();
                let descriptor = SeriesDescriptor::new(series, name, None, key, object.clone());
                (series, descriptor)
            })
            .collect()
    }

    #[test]
    fn pin_is_found_behind_any_image() {
        let pinned = descriptors(&[0x672B, 0x4BFE]);
        let (bytes, tag) = overlay(&pinned).unwrap();
        for image in [&b""[..], b"\x7fELF and so on"] {
            let file = [image, &bytes].concat();
            let pin = read_tail(&file).unwrap().unwrap();
            assert_eq!(pin.descriptors, pinned);
            assert_eq!(pin.overlay_bytes, bytes.len());
            assert_eq!(pin.tag, tag);
        }
        assert_eq!(read_tail(b"\x7fELF without one"), Ok(None));
        assert_eq!(overlay(&pinned).unwrap().0, bytes, "the same descriptors, the same bytes");
        assert_ne!(overlay(&descriptors(&[0x672B])).unwrap().1, tag);
    }

    #[test]
    fn damage_anywhere_before_the_magic_is_an_error() {
        let (bytes, _) = overlay(&descriptors(&[0x672B])).unwrap();
        let file = [&b"image"[..], &bytes].concat();
        let first = file.len() - bytes.len();
        for index in first..file.len() - MAGIC.len() {
            let mut damaged = file.clone();
            damaged[index] ^= 1;
            assert!(read_tail(&damaged).is_err(), "byte {index}");
        }
        for cut in 1..=first + 1 {
            let cut_at_the_front = &file[cut..];
            let whole = cut <= first;
            assert_eq!(read_tail(cut_at_the_front).is_ok(), whole, "{cut} bytes missing");
        }
    }

    #[test]
    fn limits_and_emptiness_are_refused() {
        assert_eq!(overlay(&Descriptors::new()), Err(PinError::Empty));
        let many: Vec<u16> = (0..1000).collect();
        assert_eq!(overlay(&descriptors(&many)), Err(PinError::TooLarge));
        let mut long = vec![0; DIGEST_BYTES];
        long.extend(u32::MAX.to_le_bytes());
        long.extend(MAGIC);
        assert_eq!(read_tail(&long), Err(PinError::Length));
        assert_eq!(read_tail(&MAGIC), Err(PinError::Length));
    }

    proptest! {
        #[test]
        fn any_tail_is_read_or_refused(mut tail in proptest::collection::vec(any::<u8>(), 0..200),
                                       signed in any::<bool>()) {
            if signed {
                tail.extend(MAGIC);
            }
            let _read_or_refused = read_tail(&tail).is_ok();
        }
    }
}
