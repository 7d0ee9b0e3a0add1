//! What the centre shows of tokens, suspicions, figures and the audit trail.
//!
//! Types only.

use std::collections::BTreeMap;

use licence_core::key::KeyNo;
use licence_core::time::Utc;
use serde::{Deserialize, Serialize};

/// A token of the books.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BlankView {
    /// Number in the books.
    #[serde(rename = "BlankID")]
    pub blank_id: i64,
    /// Serial number by which the API of servers names it.
    pub blank_key_no: u32,
    /// Short id that people read, 16 hex digits.
    pub short_id: String,
    /// What it calls itself.
    pub name: Option<String>,
    /// What is written on it.
    pub note: Option<String>,
    /// Whether its maker's certificate let it in, not the vendor.
    pub attested: bool,
    /// Since when it is known.
    pub registered: Utc,
    /// Since when it is refused.
    pub blocked: Option<Utc>,
    /// Keys that are bound to it.
    pub keys: u32,
}

/// What looks like a copy of a server.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SuspicionKind {
    /// It shows a mark that another copy has used up.
    Mark,
    /// It speaks from two computers in turn.
    Computers,
}

impl SuspicionKind {
    /// The word that the books have for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Computers => "computers",
            Self::Mark => "mark",
        }
    }

    /// What a word of the books means.
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Computers, Self::Mark].into_iter().find(|kind| kind.word() == word)
    }
}

/// A suspicion that two machines have one identity.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SuspicionView {
    /// Its number.
    #[serde(rename = "SuspicionID")]
    pub suspicion_id: i64,
    /// What was seen.
    pub kind: SuspicionKind,
    /// When first.
    pub first_seen: Utc,
    /// When last.
    pub last_seen: Utc,
    /// How often.
    pub times: u32,
    /// Thumbprint of the identity.
    pub holder: String,
    /// The computer that was known, 40 hex digits.
    #[serde(rename = "ComputerID")]
    pub computer_id: String,
    /// The computer that asked.
    #[serde(rename = "OtherComputerID")]
    pub other_computer_id: String,
    /// Where the last request came from.
    pub address: Option<String>,
    /// Keys that the identity holds.
    pub keys: Vec<KeyNo>,
    /// Since when the identity is refused.
    pub blocked: Option<Utc>,
    /// When somebody found it harmless.
    pub cleared: Option<Utc>,
}

/// Figures of one month and series.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MonthFigures {
    /// The month, `2026-01`.
    pub month: String,
    /// The series.
    pub series: String,
    /// Paid keys that were installed for the first time.
    pub activations: u32,
    /// Keys that were installed again.
    pub moves: u32,
    /// Demonstration keys that were installed.
    pub demos: u32,
    /// Computers that had a demonstration key and installed their first paid key of the series.
    pub demos_to_paid: u32,
}

/// Answer to `GET /api/stats`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Statistics {
    /// By month, the latest first, then by series.
    pub months: Vec<MonthFigures>,
    /// Keys that are installed, by series.
    pub installed: BTreeMap<String, u32>,
    /// Codes that nobody has used, by series.
    pub free: BTreeMap<String, u32>,
    /// Suspicions that nobody has cleared.
    pub suspicions: u32,
    /// Documents that wait for a signature.
    #[serde(default)]
    pub unsigned: u32,
}

/// One line of the audit trail.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AuditView {
    /// Its number, growing.
    #[serde(rename = "AuditID")]
    pub audit_id: i64,
    /// When.
    pub at: Utc,
    /// Who: the name of an account, a thumbprint, `customer`.
    pub who: String,
    /// In which part: `reader`, `clerk`, `admin`, `server`, `customer`.
    pub role: String,
    /// From which address.
    pub address: Option<String>,
    /// What was done: `activation`, `return`, `release`, …
    pub action: String,
    /// The key, if it is about one.
    pub key_no: Option<KeyNo>,
    /// The order, if it is about one.
    #[serde(rename = "OrderID")]
    pub order_id: Option<i64>,
    /// More words; never a whole code.
    pub detail: Option<String>,
}
