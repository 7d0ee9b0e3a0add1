//! Rules of who gets a seat: refusals, limits and reservations as data.
//!
//! An administrator writes them; [`crate::service`] applies them when a session opens. A rule never
//! ends a session that has its seat. Here is what a rule is, how it is checked and whom it is about;
//! seats are counted by the service, and files are read and written by the server.

mod checked;
mod error;
mod parse;
mod pattern;
mod quota;

use serde::{Deserialize, Serialize};

pub use checked::CheckedRules;
pub(crate) use checked::{CheckedRule, RuleNo};
pub use error::{RulesError, RulesProblem};
pub(crate) use pattern::Subject;
pub use quota::{ParseQuotaIdError, QuotaId, QuotaNeed, QuotaTotal};

use crate::key::KeySeries;

/// Most rules of a server: each is looked at when a session opens.
pub const RULES_MAX: usize = 200;

/// Longest name of a rule, in characters: it must be readable in a refusal's message box.
pub const NAME_CHARS_MAX: usize = 100;

/// Longest text of a rule, in bytes: about that of the longest name that a session may carry.
pub const TEXT_BYTES_MAX: usize = 500;

/// What a rule does for the sessions that it is about.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleEffect {
    /// They get no seat.
    Deny,
    /// Together they hold at most so many seats.
    Limit,
    /// So many seats of the series, or of each series, are kept for them; others cannot take these.
    /// Whatever keys they are of: a seat whose access code they do not name is of no use to them.
    Reserve,
}

/// One rule, as it is written in the file and in the API. What is not named fits everybody; all
/// that is named must fit. Texts may contain `*` for any text and are compared in any case.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Rule {
    /// Its name, by which a refusal names it; unique.
    pub name: String,
    /// What it does.
    pub effect: RuleEffect,
    /// Seats of a limit or reservation; nothing for a refusal.
    #[serde(default)]
    pub seats: Option<u32>,
    /// Whether it is in force.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Of this series only.
    #[serde(default, rename = "KeyID")]
    pub key_id: Option<KeySeries>,
    /// Users of the infobase.
    #[serde(default)]
    pub user: Option<String>,
    /// Computers.
    #[serde(default)]
    pub computer: Option<String>,
    /// Addresses that the component comes from: one, or a prefix such as `192.168.1.0/24`.
    #[serde(default)]
    pub subnet: Option<String>,
    /// Infobases, by their connection string.
    #[serde(default)]
    pub infobase: Option<String>,
    /// Applications, such as `1CV8C` or `BackgroundJob`.
    #[serde(default)]
    pub application: Option<String>,
    /// What the administrator notes about it.
    #[serde(default)]
    pub comment: String,
}

const fn yes() -> bool {
    true
}

/// The rules of a server.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RuleSet {
    /// In the order in which they are looked at.
    #[serde(default)]
    pub rules: Vec<Rule>,
}

impl RuleSet {
    /// Reads rules from the published JSON, as in the file and in the API. What they say is checked
    /// by [`RuleSet::check`].
    ///
    /// # Errors
    ///
    /// See [`RulesError`]; it names the rule and the field as far as the text can be read.
    pub fn from_json(text: &str) -> Result<Self, RulesError> {
        parse::rules(text)
    }

    /// Checks the rules and makes them ready to be applied.
    ///
    /// # Errors
    ///
    /// See [`RulesError`].
    pub fn check(self) -> Result<CheckedRules, RulesError> {
        CheckedRules::new(self)
    }
}
