//! The list of blanks: tokens that the vendor has prepared, as a file and as a call to the centre.
//!
//! It names public keys only, so it is no secret; that nobody changes it on the way to the centre is
//! the vendor's matter.

use std::collections::BTreeSet;
use std::path::Path;

use licence_core::holder::TokenKey;
use licence_core::seal::Jwk;
use licence_core::time::Utc;
use serde::{Deserialize, Serialize};

use super::BlankFailure;
use crate::files::{self, FileError, Readers};
use crate::vendor::{self, BlanksCall};

/// Largest list that is read: some 500 bytes for each of [`BLANKS_MAX`].
const LIST_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Most blanks of one list; a vendor with more has several.
pub const BLANKS_MAX: usize = 10_000;

/// Blanks that one call registers.
pub const CALL_BLANKS_MAX: usize = 500;

/// Longest name or note of a token, in characters, as the centre takes them.
pub const TEXT_CHARS_MAX: usize = 500;

/// A prepared token.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Blank {
    /// The public key inside it.
    pub jwk: Jwk,
    /// What people call its key, 16 hex digits.
    #[serde(rename = "ShortID")]
    pub short_id: String,
    /// The number by which servers name it as a blank.
    pub blank_key_no: u32,
    /// What the token calls itself.
    pub name: String,
    /// The vendor's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// When the key was made; nothing for a token that was only found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_at: Option<Utc>,
}

impl Blank {
    /// The token with this key.
    pub fn new(key: &TokenKey, name: &str, note: Option<String>, made_at: Option<Utc>) -> Self {
        Self {
            jwk: key.jwk(),
            short_id: key.short_id(),
            blank_key_no: key.blank_no(),
            name: name.chars().take(TEXT_CHARS_MAX).collect(),
            note,
            made_at,
        }
    }
}

/// A list of blanks.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BlankList {
    /// The tokens, in the order in which they were prepared.
    pub blanks: Vec<Blank>,
}

impl BlankList {
    /// Reads a list; a file that is not there yet is an empty one.
    ///
    /// # Errors
    ///
    /// [`BlankFailure::List`] when it is not a list, or names a key twice or under other numbers.
    pub fn read_or_new(path: &Path) -> Result<Self, BlankFailure> {
        // A link that leads nowhere is not a file that is not there.
        if path.symlink_metadata().is_err() { Ok(Self::default()) } else { Self::read(path) }
    }

    /// Reads a list.
    ///
    /// # Errors
    ///
    /// See [`Self::read_or_new`]; and when the file is not there.
    pub fn read(path: &Path) -> Result<Self, BlankFailure> {
        let bytes = files::read(path, LIST_BYTES_MAX)?;
        let wrong = |what: String| BlankFailure::List { path: path.to_owned(), what };
        let list: Self =
            serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        if list.blanks.len() > BLANKS_MAX {
            return Err(wrong(format!("more than {BLANKS_MAX} blanks")));
        }
        let mut keys = BTreeSet::new();
        for blank in &list.blanks {
            let key = TokenKey::from_jwk(&blank.jwk)
                .map_err(|error| wrong(format!("{}: Jwk: {error}", blank.short_id)))?;
            if blank.short_id != key.short_id() || blank.blank_key_no != key.blank_no() {
                return Err(wrong(format!("{}: the number is of another key", blank.short_id)));
            }
            if !keys.insert(key) {
                return Err(wrong(format!("{}: named twice", blank.short_id)));
            }
        }
        Ok(list)
    }

    /// Adds a token, or replaces what the list says of it.
    pub fn add(&mut self, blank: Blank) {
        match self.blanks.iter_mut().find(|it| it.jwk == blank.jwk) {
            Some(known) => *known = blank,
            None => self.blanks.push(blank),
        }
    }

    /// Writes the list in the place of the old one.
    ///
    /// # Errors
    ///
    /// See [`FileError`].
    pub fn write(&self, path: &Path) -> Result<(), BlankFailure> {
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(std::io::Error::from)
            .map_err(|source| FileError::Io { path: path.to_owned(), source })?;
        text.push(b'\n');
        Ok(files::replace(path, &[&text], Readers::Everybody)?)
    }
}

/// The call that registers these tokens.
pub fn call(blanks: &[Blank]) -> BlanksCall {
    let called = |blank: &Blank| vendor::Blank {
        jwk: blank.jwk.clone(),
        name: Some(blank.name.clone()),
        note: blank.note.clone(),
    };
    BlanksCall { blanks: blanks.iter().map(called).collect() }
}
