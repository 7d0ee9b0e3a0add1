//! Messages about what waits for the vendor's signature: series whose secret the centre has not.
//!
//! Types only; signing is [`crate::signing`]'s, comparing what comes back the centre's.

use licence_core::key::{KeyNo, KeySeries};
use licence_core::time::Utc;
use serde::{Deserialize, Serialize};

/// What kind of document waits.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UnsignedKind {
    /// A licence: `licence+jwt`, with the object key of the series where `Enc` names a key for it.
    Licence,
    /// The receipt of a return: `licence-receipt+jwt`.
    Receipt,
    /// The form of a licence that is read out over a telephone: `licence+jwt`, no object key.
    Short,
}

impl UnsignedKind {
    /// The word for it in books and messages.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Licence => "licence",
            Self::Receipt => "receipt",
            Self::Short => "short",
        }
    }

    /// What a word of the books means.
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Licence, Self::Receipt, Self::Short].into_iter().find(|kind| kind.word() == word)
    }
}

/// One document that waits for a signature; `GET /api/unsigned` gives a page of them, the oldest
/// first, and [`UnsignedFile`] carries them to a machine without a network.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UnsignedView {
    /// Its number, growing.
    #[serde(rename = "UnsignedID")]
    pub unsigned_id: i64,
    /// What it is.
    pub kind: UnsignedKind,
    /// The series whose key must sign it.
    pub series: KeySeries,
    /// The key that it is about.
    pub key_no: KeyNo,
    /// The activation that it is about.
    #[serde(rename = "ActivationID")]
    pub activation_id: String,
    /// The computer of the activation, as its server says.
    #[serde(rename = "ComputerID")]
    pub computer_id: String,
    /// The claims to sign, without `ObjectKey`.
    pub claims: serde_json::Value,
    /// The X25519 key for which the object key shall be wrapped: 32 bytes in base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enc: Option<String>,
    /// Since when it waits.
    pub created: Utc,
}

/// What `licencekit sign export` writes.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct UnsignedFile {
    /// What waits.
    pub unsigned: Vec<UnsignedView>,
}

/// Body of `POST /api/unsigned/{UnsignedID}`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct SignedCall {
    /// The signed document.
    pub document: String,
}

/// Its answer.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SignedAnswer {
    /// What was signed.
    #[serde(rename = "UnsignedID")]
    pub unsigned_id: i64,
    /// The key that it is about.
    pub key_no: KeyNo,
}

/// One document of [`SignedFile`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct SignedDocument {
    /// Which of those that waited.
    #[serde(rename = "UnsignedID")]
    pub unsigned_id: i64,
    /// The signed document.
    pub document: String,
}

/// What `licencekit sign file` writes and `licencekit sign import` reads.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct SignedFile {
    /// The documents.
    pub signed: Vec<SignedDocument>,
}
