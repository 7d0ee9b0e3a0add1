//! What lies on a token for licences: its key, and the licence document where it fits.
//!
//! The key is the token's own (slot 9E); the document is signed by the vendor, so this module keeps it
//! and judges only whether it is whole. Two data objects of PIV hold both, see [`record`].

use std::fmt;

use licence_core::holder::TokenKey;
use licence_core::seal::sha256;

use crate::apdu::{Place, TokenError};
use crate::piv::management::ManagementKey;
use crate::piv::{Object, Piv, SlotKey};
use crate::random;

pub mod record;

use record::{First, Second};

pub use record::DOCUMENT_BYTES_MAX;

/// In front of what a token signs to show that it is there: the signature has no other meaning.
const PRESENCE_DOMAIN: &[u8] = b"licence-token-presence:1\0";

/// The document on a token.
#[derive(Clone, Eq, PartialEq)]
pub enum Document {
    /// There is none: the token is a blank.
    Absent,
    /// There was one, but it is not whole: writing it was cut off.
    Damaged,
    /// Signed by the vendor, as far as the token is concerned.
    Present(String),
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("Absent"),
            Self::Damaged => f.write_str("Damaged"),
            Self::Present(text) => write!(f, "Present({} bytes)", text.len()),
        }
    }
}

/// A token as it was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenInfo {
    /// Where it is plugged in.
    pub place: Place,
    /// Its key, which has just signed something; nothing when it has none, or none that can sign for
    /// a licence.
    pub key: Option<TokenKey>,
    /// What lies on it.
    pub document: Document,
    /// For people: maker and product, or the reader's name.
    pub name: String,
    /// The number that the token shows, for display only: some firmwares show a constant.
    pub serial: Option<u32>,
}

impl TokenInfo {
    /// Whether it can take a licence: it has a key and no document.
    pub fn is_blank(&self) -> bool {
        self.key.is_some() && self.document == Document::Absent
    }

    /// Whether there is a whole document.
    pub const fn has_document(&self) -> bool {
        matches!(self.document, Document::Present(_))
    }
}

/// Reads a token.
///
/// # Errors
///
/// [`TokenError::Foreign`] when the key that it shows did not sign; see [`TokenError`].
pub fn read(piv: &mut Piv<'_>, place: &Place) -> Result<TokenInfo, TokenError> {
    let first = match piv.read_object(Object::First)? {
        Some(bytes) => First::parse(&bytes),
        None => record::Parsed::Absent,
    };
    let key = match find_key(piv, &first)? {
        Some(key) => match prove(piv, &key, &presence_message()?) {
            Ok(_) => Some(key),
            Err(TokenError::NoKey | TokenError::Refused(_)) => None,
            Err(error) => return Err(error),
        },
        None => None,
    };
    let document = document(piv, &first, key.as_ref())?;
    let serial = piv.serial()?;
    Ok(TokenInfo { place: place.clone(), key, document, name: place.name.clone(), serial })
}

/// The signature of the token with this key over SHA-256 of `message`, checked before it is given on.
///
/// # Errors
///
/// [`TokenError::Foreign`] when another key signed; [`TokenError::NoKey`] when there is none.
pub fn prove(piv: &mut Piv<'_>, key: &TokenKey, message: &[u8]) -> Result<[u8; 64], TokenError> {
    let signature = piv.sign_9e(&sha256(message))?;
    if key.verifies(message, &signature) { Ok(signature) } else { Err(TokenError::Foreign) }
}

/// Has the token make its key, and keeps the public part on it.
///
/// # Errors
///
/// [`TokenError::KeyPresent`] when it has a key, [`TokenError::Occupied`] when something else lies
/// where licences are kept; nothing was changed then.
pub fn prepare(piv: &mut Piv<'_>, management: &ManagementKey) -> Result<TokenKey, TokenError> {
    // A record of ours may lie there from a key that the application's reset has ended.
    occupied(piv)?;
    piv.authenticate_management(management)?;
    let key = piv.generate_9e()?;
    write(piv, &key, "")?;
    prove(piv, &key, &presence_message()?)?;
    Ok(key)
}

/// Keeps `document` on the token; an empty one takes away what is there.
///
/// # Errors
///
/// [`TokenError::TooLarge`] when it does not fit; then, and when the token refuses, it has to be kept
/// elsewhere, bound to the same key. [`TokenError::Occupied`] and [`TokenError::ManagementKey`] before
/// anything was changed.
pub fn store(
    piv: &mut Piv<'_>,
    document: &str,
    management: &ManagementKey,
) -> Result<(), TokenError> {
    if document.len() > DOCUMENT_BYTES_MAX {
        return Err(TokenError::TooLarge { bytes: document.len(), bytes_max: DOCUMENT_BYTES_MAX });
    }
    let first = occupied(piv)?;
    let key = find_key(piv, &first)?.ok_or(TokenError::NoKey)?;
    let present = self::document(piv, &first, Some(&key))?;
    let is_there = match &present {
        Document::Absent => document.is_empty(),
        Document::Damaged => false,
        Document::Present(text) => text == document,
    };
    // What is there already need not wear the token's memory.
    if is_there && matches!(first, record::Parsed::Whole(_)) {
        return Ok(());
    }
    piv.authenticate_management(management)?;
    write(piv, &key, document)
}

/// Refuses a token on which something lies that is not ours.
fn occupied(piv: &mut Piv<'_>) -> Result<record::Parsed, TokenError> {
    let first = match piv.read_object(Object::First)? {
        Some(bytes) => First::parse(&bytes),
        None => record::Parsed::Absent,
    };
    let second = piv.read_object(Object::Second)?;
    if matches!(first, record::Parsed::Foreign) || second.is_some_and(|it| !Second::is_ours(&it)) {
        return Err(TokenError::Occupied);
    }
    Ok(first)
}

/// The key of slot 9E: from the token itself where it tells, else from our record, which the key has
/// signed.
fn find_key(piv: &mut Piv<'_>, first: &record::Parsed) -> Result<Option<TokenKey>, TokenError> {
    Ok(match piv.slot_key()? {
        SlotKey::Absent => None,
        SlotKey::Present(Some(key)) => Some(key),
        SlotKey::Hidden | SlotKey::Present(None) | SlotKey::Unknown => match first {
            record::Parsed::Whole(first) => Some(first.key),
            record::Parsed::Absent | record::Parsed::Foreign | record::Parsed::Torn => None,
        },
    })
}

fn document(
    piv: &mut Piv<'_>,
    first: &record::Parsed,
    key: Option<&TokenKey>,
) -> Result<Document, TokenError> {
    let first = match first {
        record::Parsed::Whole(first) => first,
        record::Parsed::Torn => return Ok(Document::Damaged),
        record::Parsed::Absent | record::Parsed::Foreign => return Ok(Document::Absent),
    };
    // What lies there for another key, which the token has no more, is of no use to anybody.
    if first.document_bytes == 0 || key.is_some_and(|key| *key != first.key) {
        return Ok(Document::Absent);
    }
    let second = if first.needs_second() { piv.read_object(Object::Second)? } else { None };
    Ok(first.document(second.as_deref()).map_or(Document::Damaged, Document::Present))
}

/// Writes the record. The second part goes first: until the first names it, the old document is
/// whole, or is seen not to be.
fn write(piv: &mut Piv<'_>, key: &TokenKey, document: &str) -> Result<(), TokenError> {
    let signature = prove(piv, key, &record::statement(key))?;
    let (first, second) = record::parts(key, &signature, document)?;
    if let Some(second) = &second {
        piv.write_object(Object::Second, second)?;
    }
    piv.write_object(Object::First, &first)?;
    let kept = piv.read_object(Object::First)?;
    let kept_second = if second.is_some() { piv.read_object(Object::Second)? } else { None };
    if kept.as_deref() == Some(first.as_slice()) && kept_second == second {
        Ok(())
    } else {
        Err(TokenError::Malformed("it does not keep what was written"))
    }
}

fn presence_message() -> Result<Vec<u8>, TokenError> {
    Ok([PRESENCE_DOMAIN, &random::challenge()?].concat())
}

#[cfg(test)]
mod tests;
