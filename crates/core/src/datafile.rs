//! Data files: a vendor's protected objects, `XXXX.datafile`.
//!
//! A file is one line that names the format, one line with a JWS that lists the objects, and their
//! ciphertexts one after the other. Every object is sealed with a key of its own
//! (ChaCha20-Poly1305, RFC 8439), which is wrapped for the series (see `wrap`) and travels in the
//! list. The list is signed by the series' key, because anybody can encrypt for a public key.
//!
//! Nothing here decides who may open an object: the server gives its key to a session with a seat.
//! How a file is made, and whose key opens it, is in `build` (feature `hpke`).

use serde::{Deserialize, Serialize};

#[cfg(feature = "hpke")]
mod build;
#[cfg(test)]
mod tests;

#[cfg(feature = "hpke")]
pub use build::{BuiltDatafile, DatafileBuilder, unwrap_object_key};

use crate::jws::{self, JwsError};
use crate::key::KeySeries;
use crate::seal::{self, KEY_BYTES, PublicKey, SigningKey, hex_upper, sha256};

/// First line of every data file, with its end.
pub const MAGIC: &[u8] = b"licence-datafile 1\n";

/// `typ` of the list of objects.
pub const DATAFILE_TYP: &str = "licence-datafile+jwt";

/// Purpose under which object keys are wrapped (RFC 9180, `info`).
pub const OBJECT_KEY_PURPOSE: &str = "licence object key 1";

/// Largest object, in bytes of plain text. Processors of large products have some 10 MiB.
pub const OBJECT_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Largest data file. Components keep the files of templates in memory, in 32-bit clients too.
pub const DATAFILE_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// Most objects of one file.
pub const OBJECTS_MAX: usize = 4096;

/// Longest list of objects as a JWS: [`OBJECTS_MAX`] entries of some 500 bytes.
pub const LIST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Longest name of an object or alias in bytes: 1C's names have up to 255 characters, Cyrillic
/// ones take two bytes each.
pub const OBJECT_NAME_BYTES_MAX: usize = 510;

/// Longest wrapped key of an object as text: 64 bytes of secret at most, with what wrapping adds, in
/// base64url.
pub const WRAPPED_KEY_CHARS_MAX: usize = 152;

/// Bytes that sealing adds to an object: the tag of the AEAD.
pub const TAG_BYTES: u64 = 16;

/// Names of the text object that holds licence parameters (see [`crate::parameters`]).
pub const PARAMETERS_NAMES: [&str; 2] = ["Параметры", "Parameters"];

/// What an object is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectKind {
    /// External data processor.
    Epf,
    /// External report.
    Erf,
    /// Text in UTF-8, such as a file of licence parameters.
    Text,
}

impl ObjectKind {
    /// Its name in lists and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Epf => "epf",
            Self::Erf => "erf",
            Self::Text => "text",
        }
    }
}

/// Who gets the key of an object. The vendor chooses it when packing; it is part of what the
/// wrapped key is bound to, so nobody can weaken it afterwards.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectAccess {
    /// A session that holds a seat: the ordinary case.
    Seat,
    /// A session that holds a seat or was opened for presence only.
    Presence,
    /// Any connection of the series while the server has a key of it that may be used: for objects
    /// that decide themselves whether a licence is needed (`ПередКонтролемЛицензии`).
    Key,
}

impl ObjectAccess {
    /// Its name in lists and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Presence => "presence",
            Self::Seat => "seat",
        }
    }
}

/// An object as the list names it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ObjectEntry {
    /// Its name: that of the epf, erf or text file without the extension.
    pub name: String,
    /// What it is.
    pub kind: ObjectKind,
    /// Who gets its key.
    pub access: ObjectAccess,
    /// Bytes of the plain text.
    pub size: u64,
    /// Where its ciphertext begins, counted from the end of the list's line.
    pub offset: u64,
    /// SHA-256 of the plain text, upper-case hex.
    pub digest: String,
    /// Its key, wrapped for the series (base64url of the encapsulated key and the ciphertext).
    pub key: String,
}

impl ObjectEntry {
    /// Bytes of the ciphertext.
    pub const fn sealed_bytes(&self) -> u64 {
        self.size.saturating_add(TAG_BYTES)
    }

    /// What the wrapped key and the ciphertext are bound to: everything that matters of the entry.
    pub fn context(&self, series: KeySeries) -> Vec<u8> {
        // JSON of a list of texts: unambiguous whatever the name contains.
        let (kind, access) = (self.kind.name(), self.access.name());
        let parts = [series.to_string().as_str(), &self.name, kind, access, &self.digest]
            .map(str::to_owned);
        serde_json::Value::from(parts.to_vec()).to_string().into_bytes()
    }
}

/// The list of a data file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ObjectList {
    /// Issuer: `urn:licence-series:672B`.
    #[serde(rename = "iss")]
    pub iss: String,
    /// The series.
    #[serde(rename = "KeyID")]
    pub key_id: KeySeries,
    /// The objects, in the order of their ciphertexts.
    pub objects: Vec<ObjectEntry>,
}

/// Why a data file was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DatafileError {
    /// The list contradicts itself or the file.
    #[error("the data file contradicts itself: {0}")]
    Contradiction(&'static str),
    /// Does not begin as a data file does.
    #[error("not a data file")]
    Format,
    /// The list is not genuine.
    #[error("the list of objects is not genuine")]
    List(#[source] JwsError),
    /// The object is not what the list says, or the key is another's.
    #[error("the object was changed, or the key belongs to another")]
    Object,
    /// Of another series than expected.
    #[error("the data file belongs to series {0}")]
    Series(KeySeries),
    /// Larger than a limit.
    #[error("{what} is larger than {max} bytes")]
    TooLarge {
        /// What.
        what: &'static str,
        /// The limit.
        max: u64,
    },
}

/// The list of a data file and where the ciphertexts begin.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Datafile {
    /// The list.
    pub list: ObjectList,
    /// The list as it stands in the file.
    pub token: String,
    /// Bytes before the first ciphertext.
    pub body_offset: u64,
}

impl ObjectList {
    /// A list of `objects` of this series.
    pub fn new(series: KeySeries, objects: Vec<ObjectEntry>) -> Self {
        Self { iss: format!("urn:licence-series:{series}"), key_id: series, objects }
    }

    /// Reads a list and verifies it under the key of its series.
    ///
    /// # Errors
    ///
    /// See [`DatafileError`].
    pub fn verify(token: &str, series: KeySeries, key: &PublicKey) -> Result<Self, DatafileError> {
        let list: Self = jws::verify_within(DATAFILE_TYP, token, key, LIST_BYTES_MAX)
            .map_err(DatafileError::List)?;
        if list.key_id != series {
            return Err(DatafileError::Series(list.key_id));
        }
        list.check()?;
        Ok(list)
    }

    /// Signs the list with the series' key.
    ///
    /// # Errors
    ///
    /// When it could not be read back.
    pub fn sign(&self, key: &SigningKey) -> Result<String, DatafileError> {
        let token = jws::sign(DATAFILE_TYP, self, key)
            .map_err(|_| DatafileError::Contradiction("it cannot be written as JSON"))?;
        Self::verify(&token, self.key_id, &key.public())?;
        Ok(token)
    }

    /// Bytes of all ciphertexts together.
    pub fn body_bytes(&self) -> u64 {
        self.objects.iter().map(ObjectEntry::sealed_bytes).fold(0, u64::saturating_add)
    }

    /// The object of this name, whatever its case: 1C's names have none.
    pub fn find(&self, name: &str) -> Option<&ObjectEntry> {
        let wanted = name.to_lowercase();
        self.objects.iter().find(|object| object.name.to_lowercase() == wanted)
    }

    /// The text object with licence parameters, if there is one; [`PARAMETERS_NAMES`] in this order.
    pub fn parameters(&self) -> Option<&ObjectEntry> {
        PARAMETERS_NAMES
            .iter()
            .filter_map(|name| self.find(name))
            .find(|object| object.kind == ObjectKind::Text)
    }

    /// What makes a version of the file: SHA-256 of the list's token, upper-case hex.
    pub fn version(token: &str) -> String {
        hex_upper(&sha256(token.as_bytes()))
    }

    fn check(&self) -> Result<(), DatafileError> {
        let wrong = DatafileError::Contradiction;
        if self.iss != format!("urn:licence-series:{}", self.key_id) {
            return Err(wrong("iss names another series"));
        }
        if self.objects.len() > OBJECTS_MAX {
            return Err(wrong("it has too many objects"));
        }
        let mut names = std::collections::BTreeSet::new();
        let mut offset: u64 = 0;
        for object in &self.objects {
            check_name(&object.name).map_err(wrong)?;
            if !names.insert(object.name.to_lowercase()) {
                return Err(wrong("two objects have one name"));
            }
            if object.size > OBJECT_BYTES_MAX {
                return Err(DatafileError::TooLarge { what: "an object", max: OBJECT_BYTES_MAX });
            }
            let is_hex = |b: u8| matches!(b, b'0'..=b'9' | b'A'..=b'F');
            if object.digest.len() != 64 || !object.digest.bytes().all(is_hex) {
                return Err(wrong("a digest is not 64 upper-case hex digits"));
            }
            if object.key.is_empty() || object.key.len() > WRAPPED_KEY_CHARS_MAX {
                return Err(wrong("a wrapped key is empty or too long"));
            }
            if object.offset != offset {
                return Err(wrong("an object does not follow the one before it"));
            }
            offset = offset.saturating_add(object.sealed_bytes());
        }
        if offset > DATAFILE_BYTES_MAX {
            return Err(DatafileError::TooLarge { what: "the file", max: DATAFILE_BYTES_MAX });
        }
        Ok(())
    }
}

/// Whether a text may name an object or an alias.
///
/// # Errors
///
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > OBJECT_NAME_BYTES_MAX {
        return Err("a name is empty or too long");
    }
    if name.contains(|c: char| c.is_control() || matches!(c, '.' | '/' | '\\' | ':')) {
        return Err("a name has a dot, a slash, a colon or a control character");
    }
    if name.trim() != name {
        return Err("a name begins or ends with white space");
    }
    Ok(())
}

/// Splits `Имя` and `Псевдоним.Имя`.
pub fn split_object_name(name: &str) -> (Option<&str>, &str) {
    match name.trim().split_once('.') {
        Some((alias, name)) => (Some(alias.trim()), name.trim()),
        None => (None, name.trim()),
    }
}

impl Datafile {
    /// Reads the beginning of a file; `start` must hold it up to the end of the list at least, and
    /// `file_bytes` is the length of the whole.
    ///
    /// # Errors
    ///
    /// See [`DatafileError`].
    pub fn read(
        start: &[u8],
        file_bytes: u64,
        series: KeySeries,
        key: &PublicKey,
    ) -> Result<Self, DatafileError> {
        if file_bytes > DATAFILE_BYTES_MAX {
            return Err(DatafileError::TooLarge { what: "the file", max: DATAFILE_BYTES_MAX });
        }
        let rest = start.strip_prefix(MAGIC).ok_or(DatafileError::Format)?;
        let within = &rest[..rest.len().min(LIST_BYTES_MAX + 1)];
        let end = within.iter().position(|b| *b == b'\n').ok_or(DatafileError::Format)?;
        let token = std::str::from_utf8(&rest[..end]).map_err(|_| DatafileError::Format)?;
        let list = ObjectList::verify(token, series, key)?;
        let body_offset = u64::try_from(MAGIC.len() + end + 1)
            .map_err(|_| DatafileError::Contradiction("it is too long"))?;
        if body_offset.saturating_add(list.body_bytes()) != file_bytes {
            return Err(DatafileError::Contradiction("the file is longer or shorter than it says"));
        }
        Ok(Self { token: token.to_owned(), list, body_offset })
    }

    /// Which bytes of the file are an object's ciphertext.
    pub const fn range(&self, object: &ObjectEntry) -> std::ops::Range<u64> {
        let start = self.body_offset.saturating_add(object.offset);
        start..start.saturating_add(object.sealed_bytes())
    }
}

/// Seals an object with its key, which must serve for nothing else.
///
/// # Errors
///
/// [`DatafileError::TooLarge`].
pub fn seal_object(
    key: &[u8; KEY_BYTES],
    context: &[u8],
    plain: &[u8],
) -> Result<Vec<u8>, DatafileError> {
    if plain.len() as u64 > OBJECT_BYTES_MAX {
        return Err(DatafileError::TooLarge { what: "an object", max: OBJECT_BYTES_MAX });
    }
    // The key serves once, so the nonce may be fixed (RFC 8439, section 2.8: unique per key).
    seal::aead_seal(key, [0; 12], context, plain).ok_or(DatafileError::Object)
}

/// Opens an object with its key.
///
/// # Errors
///
/// [`DatafileError::Object`] when anything was changed or the key is another's.
pub fn open_object(
    key: &[u8; KEY_BYTES],
    series: KeySeries,
    object: &ObjectEntry,
    sealed: &[u8],
) -> Result<Vec<u8>, DatafileError> {
    let plain = seal::aead_open(key, [0; 12], &object.context(series), sealed)
        .ok_or(DatafileError::Object)?;
    let is_whole = plain.len() as u64 == object.size && hex_upper(&sha256(&plain)) == object.digest;
    if is_whole { Ok(plain) } else { Err(DatafileError::Object) }
}
