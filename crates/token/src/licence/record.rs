//! How key and document lie in two data objects of a token.
//!
//! | object | bytes | content |
//! | --- | --- | --- |
//! | first | 4 | `LTK1` |
//! | | 65 | the public key, a point on P-256 |
//! | | 64 | the key's signature (r and s) over [`statement`] |
//! | | 2 | bytes of the document, big-endian; 0 for a blank |
//! | | 32 | SHA-256 of the document |
//! | | up to 1633 | its first part |
//! | second | 4 | `LTK2` |
//! | | 8 | first bytes of the same digest |
//! | | up to 1788 | its second part |
//!
//! Tokens are not spoken to here.

use licence_core::holder::{POINT_BYTES, TokenKey};
use licence_core::seal::sha256;

use crate::apdu::TokenError;
use crate::piv::OBJECT_BYTES_MAX;

const FIRST_MAGIC: &[u8; 4] = b"LTK1";
const SECOND_MAGIC: &[u8; 4] = b"LTK2";
const SIGNATURE_BYTES: usize = 64;
const DIGEST_BYTES: usize = 32;

/// Bytes of the digest in the second object: enough to see that the parts are of one document.
const TIE_BYTES: usize = 8;

const FIRST_HEAD_BYTES: usize =
    FIRST_MAGIC.len() + POINT_BYTES + SIGNATURE_BYTES + 2 + DIGEST_BYTES;
const SECOND_HEAD_BYTES: usize = SECOND_MAGIC.len() + TIE_BYTES;
const FIRST_PART_BYTES: usize = OBJECT_BYTES_MAX - FIRST_HEAD_BYTES;
const SECOND_PART_BYTES: usize = OBJECT_BYTES_MAX - SECOND_HEAD_BYTES;

/// Largest document that two objects take. A licence has some 1.5 KiB.
pub const DOCUMENT_BYTES_MAX: usize = FIRST_PART_BYTES + SECOND_PART_BYTES;

/// In front of what a key signs in its own record.
const KEY_DOMAIN: &[u8] = b"licence-token-key:1\0";

/// What a key signs in its own record: that it is the key of this token.
pub fn statement(key: &TokenKey) -> Vec<u8> {
    [KEY_DOMAIN, key.as_bytes()].concat()
}

/// What lies in the first object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Parsed {
    /// Nothing.
    Absent,
    /// Something of somebody else.
    Foreign,
    /// A record of ours that is cut off, or whose key has not signed it.
    Torn,
    /// A record of ours.
    Whole(Box<First>),
}

/// The content of the first object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct First {
    /// The key, by its own word.
    pub key: TokenKey,
    /// Bytes of the document; 0 for a blank.
    pub document_bytes: usize,
    digest: [u8; DIGEST_BYTES],
    part: Vec<u8>,
}

impl First {
    /// Reads the first object.
    pub fn parse(bytes: &[u8]) -> Parsed {
        let Some(rest) = bytes.strip_prefix(FIRST_MAGIC) else { return Parsed::Foreign };
        Self::parse_rest(rest).map_or(Parsed::Torn, |first| Parsed::Whole(Box::new(first)))
    }

    fn parse_rest(rest: &[u8]) -> Option<Self> {
        let (point, rest) = rest.split_at_checked(POINT_BYTES)?;
        let (signature, rest) = rest.split_at_checked(SIGNATURE_BYTES)?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (digest, part) = rest.split_first_chunk::<DIGEST_BYTES>()?;
        let key = TokenKey::from_point(point)?;
        let document_bytes = usize::from(u16::from_be_bytes(*length));
        let fits = document_bytes <= DOCUMENT_BYTES_MAX
            && part.len() == document_bytes.min(FIRST_PART_BYTES);
        (fits && key.verifies(&statement(&key), signature)).then(|| Self {
            key,
            document_bytes,
            digest: *digest,
            part: part.to_vec(),
        })
    }

    /// Whether the document goes on in the second object.
    pub const fn needs_second(&self) -> bool {
        self.document_bytes > FIRST_PART_BYTES
    }

    /// The document, when it is whole.
    pub fn document(&self, second: Option<&[u8]>) -> Option<String> {
        let mut document = self.part.clone();
        if self.needs_second() {
            let second = second?.strip_prefix(SECOND_MAGIC)?;
            document.extend_from_slice(second.strip_prefix(&self.digest[..TIE_BYTES])?);
        }
        let whole = document.len() == self.document_bytes && sha256(&document) == self.digest;
        if whole { String::from_utf8(document).ok() } else { None }
    }
}

/// The content of the second object.
#[derive(Debug)]
pub struct Second;

impl Second {
    /// Whether we have written it.
    pub fn is_ours(bytes: &[u8]) -> bool {
        bytes.starts_with(SECOND_MAGIC)
    }
}

/// The first object and, where the document needs it, the second.
///
/// # Errors
///
/// [`TokenError::TooLarge`].
pub fn parts(
    key: &TokenKey,
    signature: &[u8; SIGNATURE_BYTES],
    document: &str,
) -> Result<(Vec<u8>, Option<Vec<u8>>), TokenError> {
    let document = document.as_bytes();
    let too_large = TokenError::TooLarge { bytes: document.len(), bytes_max: DOCUMENT_BYTES_MAX };
    let length = match u16::try_from(document.len()) {
        Ok(length) if document.len() <= DOCUMENT_BYTES_MAX => length,
        _ => return Err(too_large),
    };
    let (here, there) = document.split_at(document.len().min(FIRST_PART_BYTES));
    let digest = sha256(document);
    let first = [FIRST_MAGIC, &key.as_bytes()[..], signature, &length.to_be_bytes(), &digest, here]
        .concat();
    let second = (!there.is_empty()).then(|| [SECOND_MAGIC, &digest[..TIE_BYTES], there].concat());
    Ok((first, second))
}
