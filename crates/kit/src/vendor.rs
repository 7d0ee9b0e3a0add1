//! Messages between the vendor's tools and the activation centre beside orders: keys and their
//! history, customers, tokens, series, suspicions, statistics, the audit trail.
//!
//! Types and their limits only; what is done with them is the centre's work.

use licence_core::activation::ActivationCode;
use licence_core::binding::{Binding, GRACE_DAYS_MAX};
use licence_core::centre_request::ReturnReason;
use licence_core::cluster::ClusterId;
use licence_core::holder::TokenKey;
use licence_core::key::{KeyNo, KeySeries};
use licence_core::time::Utc;
use serde::{Deserialize, Serialize};

mod unsigned;
mod views;

pub use self::unsigned::{
    SignedAnswer, SignedCall, SignedDocument, SignedFile, UnsignedFile, UnsignedKind, UnsignedView,
};
pub use self::views::{
    AuditView, BlankView, MonthFigures, Statistics, SuspicionKind, SuspicionView,
};

use crate::order::{CLUSTER_NODES_MAX, OrderKind, PERIOD_DAYS_MAX, SEATS_MAX, is_owner_number};

/// Most characters of a customer's name, address or note.
pub const TEXT_CHARS_MAX: usize = 500;

/// Moves that a key may make in a year where the series says nothing: one a quarter covers every
/// honest change of hardware, and a key that is passed around the city each morning is noticed.
pub const MOVES_MAX_DEFAULT: u32 = 4;

/// Most moves a year that a series may allow; more is no limit at all.
pub const MOVES_MAX: u32 = 1000;

/// Most tokens in one call: the factory box of a small vendor.
pub const BLANKS_MAX: usize = 1000;

/// What a series' settings ask for, and why they are not taken.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VendorError {
    /// The end is in the past, before the start, or the days are too many.
    #[error("give either ExpireDate, which must lie ahead, or Days from 1 to {PERIOD_DAYS_MAX}")]
    Term,
    /// The keys of the order never end.
    #[error("the keys of the order have no term: there is nothing to prolong")]
    Endless,
    /// A number out of range.
    #[error("{0} must be {1} to {2}")]
    Number(&'static str, u32, u32),
    /// ИНН or КПП.
    #[error("ITN and IEC are 1 to 12 digits")]
    Owner,
    /// A text is empty, too long or holds control characters.
    #[error("{0} must be 1 to {1} characters without control characters")]
    Text(&'static str, usize),
    /// A key of a token that is none.
    #[error("Jwk must be a P-256 key")]
    BlankKey,
    /// More tokens than one call takes, or none.
    #[error("Blanks must be 1 to {BLANKS_MAX}")]
    BlankCount,
}

fn is_text(text: &str, limit: usize) -> bool {
    !text.trim().is_empty()
        && text.chars().count() <= limit
        && !text.chars().any(|c| c.is_control() && c != '\n')
}

/// What a demonstration key without a code grants; body and part of [`SeriesSettings`].
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DemoOffer {
    /// Seats of the key, 1 to [`SEATS_MAX`].
    pub seats: u32,
    /// Its term in days, 1 to [`PERIOD_DAYS_MAX`].
    pub days: u32,
}

/// What the vendor has settled for a series; body of `PUT /api/series/{KeyID}`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct SeriesSettings {
    /// Demonstration keys without a code; none without it.
    #[serde(default)]
    pub demo: Option<DemoOffer>,
    /// How strictly its licences are bound to computers; without it the descriptor decides.
    #[serde(default)]
    pub binding: Option<Binding>,
    /// Moves that a key may make in 365 days, 0 to [`MOVES_MAX`]. The vendor's own do not count.
    #[serde(default = "moves_max_default")]
    pub moves_max: u32,
    /// Whether customers may release a key whose server is dead by themselves.
    #[serde(default)]
    pub self_release: bool,
    /// How many servers may share a key as nodes of one cluster, up to [`CLUSTER_NODES_MAX`]. 0, the
    /// default, is none: who lets a key be in several places trusts the customer's etcd to count its
    /// seats once, and that is the vendor's to decide, product by product.
    #[serde(default)]
    pub cluster_nodes: u32,
}

const fn moves_max_default() -> u32 {
    MOVES_MAX_DEFAULT
}

impl Default for SeriesSettings {
    fn default() -> Self {
        Self {
            demo: None,
            binding: None,
            moves_max: MOVES_MAX_DEFAULT,
            self_release: false,
            cluster_nodes: 0,
        }
    }
}

impl SeriesSettings {
    /// Whether every member is within its limits.
    ///
    /// # Errors
    ///
    /// The first member that is not.
    pub fn check(&self) -> Result<(), VendorError> {
        let within = |name, value, low, high| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(VendorError::Number(name, low, high))
            }
        };
        if let Some(demo) = self.demo {
            within("Demo.Seats", demo.seats, 1, SEATS_MAX)?;
            within("Demo.Days", demo.days, 1, PERIOD_DAYS_MAX)?;
        }
        if let Some(binding) = self.binding {
            let days = u32::from(binding.grace_days);
            within("Binding.GraceDays", days, 0, u32::from(GRACE_DAYS_MAX))?;
        }
        within("MovesMax", self.moves_max, 0, MOVES_MAX)?;
        within("ClusterNodes", self.cluster_nodes, 0, CLUSTER_NODES_MAX)
    }
}

/// A series with its settings, as `GET /api/series-settings` lists them.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SeriesView {
    /// The series.
    pub series: KeySeries,
    /// Name of the product.
    pub product_name: String,
    /// What is settled.
    pub settings: SeriesSettings,
}

/// Body of `POST /api/orders/{OrderID}/prolong`: one of the two.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ProlongCall {
    /// The new end.
    #[serde(default)]
    pub expire_date: Option<Utc>,
    /// So many days more.
    #[serde(default)]
    pub days: Option<u32>,
}

/// The term of an order's keys; answer to [`ProlongCall`].
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TermView {
    /// Number of the order.
    #[serde(rename = "OrderID")]
    pub order_id: i64,
    /// Days from the start or the activation; 0 is no limit.
    pub period: u32,
    /// First moment at which the keys may no longer be used.
    pub expire_date: Option<Utc>,
}

/// A customer as the vendor writes them down; body of `POST /api/customers` and
/// `PUT /api/customers/{CustomerID}`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CustomerCall {
    /// Name, up to [`TEXT_CHARS_MAX`] characters.
    pub name: String,
    /// ИНН.
    #[serde(rename = "ITN", default)]
    pub itn: Option<String>,
    /// КПП.
    #[serde(rename = "IEC", default)]
    pub iec: Option<String>,
    /// Address of mail.
    #[serde(default)]
    pub mail: Option<String>,
    /// For the vendor's eyes.
    #[serde(default)]
    pub note: Option<String>,
}

impl CustomerCall {
    /// Whether every member is within its limits.
    ///
    /// # Errors
    ///
    /// The first member that is not.
    pub fn check(&self) -> Result<(), VendorError> {
        for (name, text) in
            [("Name", Some(&self.name)), ("Mail", self.mail.as_ref()), ("Note", self.note.as_ref())]
        {
            if text.is_some_and(|text| !is_text(text, TEXT_CHARS_MAX)) {
                return Err(VendorError::Text(name, TEXT_CHARS_MAX));
            }
        }
        if [&self.itn, &self.iec].into_iter().flatten().any(|digits| !is_owner_number(digits)) {
            return Err(VendorError::Owner);
        }
        Ok(())
    }
}

/// A customer of the books.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CustomerView {
    /// Number of the customer.
    #[serde(rename = "CustomerID")]
    pub customer_id: i64,
    /// Since when they are in the books.
    pub created: Utc,
    /// Who they are.
    #[serde(flatten)]
    pub customer: CustomerBody,
    /// Orders that name them.
    pub orders: u32,
}

/// The members of [`CustomerCall`] in an answer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CustomerBody {
    /// Name.
    pub name: String,
    /// ИНН.
    #[serde(rename = "ITN")]
    pub itn: Option<String>,
    /// КПП.
    #[serde(rename = "IEC")]
    pub iec: Option<String>,
    /// Address of mail.
    pub mail: Option<String>,
    /// For the vendor's eyes.
    pub note: Option<String>,
}

/// A page of a list: `Next` is given when there may be more; ask with `?before=` it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Page<T> {
    /// The entries, newest first.
    pub items: Vec<T>,
    /// Where the next page begins.
    pub next: Option<i64>,
}

/// Where a key is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum KeyState {
    /// Installed.
    Activated,
    /// Its term is over.
    Expired,
    /// Never installed.
    Free,
    /// Taken away and waiting for its reserve code.
    Returned,
    /// Its order was revoked.
    Revoked,
}

/// A key in a list.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct KeyRow {
    /// Serial number.
    pub key_no: KeyNo,
    /// Its series.
    pub series: KeySeries,
    /// Main, additional or demo.
    pub kind: OrderKind,
    /// Seats.
    pub seats: u32,
    /// Number of its order; 0 of demonstration keys without a code.
    #[serde(rename = "OrderID")]
    pub order_id: i64,
    /// Its customer, if the order names one.
    #[serde(rename = "CustomerID")]
    pub customer_id: Option<i64>,
    /// Name of the customer.
    pub customer: Option<String>,
    /// Where it is.
    pub state: KeyState,
    /// End of its term, as far as it is known: a term in days begins with the first activation.
    pub expire_date: Option<Utc>,
    /// When it was installed last.
    pub activated: Option<Utc>,
    /// On which computer, 40 hex digits.
    #[serde(rename = "ComputerID")]
    pub computer_id: Option<String>,
}

/// A key with its whole history; answer to `GET /api/keys/{KeyNo}`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct KeyView {
    /// The key.
    #[serde(flatten)]
    pub key: KeyRow,
    /// The activation code that it was sold with.
    pub code: ActivationCode,
    /// The reserve code that installs it again, when it waits for one and is nowhere. Those of single
    /// nodes of a cluster are with their activations.
    pub reserve_code: Option<ActivationCode>,
    /// The spare code that was drawn for it and is worth something, where one server has it. Those of
    /// the nodes of a cluster are with their activations.
    pub spare_code: Option<ActivationCode>,
    /// The cluster whose nodes have it, if it is one's.
    #[serde(default)]
    pub cluster: Option<ClusterId>,
    /// Servers that have it at this moment.
    #[serde(default)]
    pub nodes: u32,
    /// How many may have it as nodes of one cluster; 0 when it is for a single server.
    #[serde(default)]
    pub nodes_max: u32,
    /// ИНН of the order or of the first buyer.
    #[serde(rename = "ITN")]
    pub itn: Option<String>,
    /// Moves of the last 365 days that count.
    pub moves: u32,
    /// How many it may make.
    pub moves_max: u32,
    /// When the next move is possible, where none is at this moment.
    pub next_move: Option<Utc>,
    /// Its activations, the first one first.
    pub activations: Vec<ActivationView>,
}

/// How an activation ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EndedBy {
    /// The customer, on their page.
    Customer,
    /// A paid key that took the place of a demonstration key.
    Paid,
    /// The licence server gave it back.
    Server,
    /// A spare code was used elsewhere.
    Spare,
    /// The vendor.
    Vendor,
}

impl EndedBy {
    /// The word that the books have for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Paid => "paid",
            Self::Server => "server",
            Self::Spare => "spare",
            Self::Vendor => "vendor",
        }
    }

    /// What a word of the books means.
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Customer, Self::Paid, Self::Server, Self::Spare, Self::Vendor]
            .into_iter()
            .find(|ended| ended.word() == word)
    }
}

/// One activation of a key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ActivationView {
    /// Number that grows with every activation of the centre.
    pub activation_no: i64,
    /// Its id: `jti` of the licence.
    #[serde(rename = "ActivationID")]
    pub activation_id: String,
    /// Serial number of the key.
    pub key_no: KeyNo,
    /// When.
    pub activated: Utc,
    /// The computer, 40 hex digits.
    #[serde(rename = "ComputerID")]
    pub computer_id: String,
    /// Thumbprint of the server that asked for it.
    pub holder: String,
    /// Version of the server.
    pub server_version: String,
    /// The token it is bound to, if any.
    pub blank_key_no: Option<u32>,
    /// The cluster that the server is a node of; nothing for a licence of a single server.
    #[serde(default)]
    pub cluster: Option<ClusterId>,
    /// The spare code that was drawn for it and is worth something.
    #[serde(default)]
    pub spare_code: Option<ActivationCode>,
    /// The code that it has left behind and that nobody has used.
    #[serde(default)]
    pub reserve_code: Option<ActivationCode>,
    /// When it ended.
    pub ended: Option<Utc>,
    /// How.
    pub ended_by: Option<EndedBy>,
    /// Why, as far as somebody said so.
    pub reason: Option<ReturnReason>,
    /// In their words.
    pub note: Option<String>,
}

/// Body of `POST /api/keys/{KeyNo}/release`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ReleaseCall {
    /// Why.
    #[serde(default)]
    pub reason: Option<ReturnReason>,
    /// In a person's words, up to [`TEXT_CHARS_MAX`] characters.
    #[serde(default)]
    pub comment: Option<String>,
    /// Id of the activation that shall end. To be named when several nodes of a cluster have the key:
    /// one of them is released, the others go on.
    #[serde(rename = "ActivationID", default)]
    pub activation_id: Option<String>,
}

impl ReleaseCall {
    /// Whether the comment is within its limits.
    ///
    /// # Errors
    ///
    /// When it is not.
    pub fn check(&self) -> Result<(), VendorError> {
        if self.comment.as_ref().is_some_and(|text| !is_text(text, TEXT_CHARS_MAX)) {
            return Err(VendorError::Text("Comment", TEXT_CHARS_MAX));
        }
        Ok(())
    }
}

/// Answer to [`ReleaseCall`].
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReleaseAnswer {
    /// The key.
    pub key_no: KeyNo,
    /// The code that installs it again, once.
    pub reserve_code: ActivationCode,
}

/// Body of `POST /api/keys/{KeyNo}/spare`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct SpareCall {
    /// Whether the code that was drawn before becomes worthless: somebody has seen it.
    #[serde(default)]
    pub renew: bool,
    /// Id of the activation that it is for. To be named when several nodes of a cluster have the key.
    #[serde(rename = "ActivationID", default)]
    pub activation_id: Option<String>,
}

/// A token of the vendor, as `licencekit blank prepare` writes it down.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Blank {
    /// Its public key, P-256.
    pub jwk: licence_core::seal::Jwk,
    /// What the token calls itself, up to [`TEXT_CHARS_MAX`] characters.
    #[serde(default)]
    pub name: Option<String>,
    /// What is written on it, up to [`TEXT_CHARS_MAX`] characters.
    #[serde(default)]
    pub note: Option<String>,
}

/// Body of `POST /api/blanks`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BlanksCall {
    /// The tokens.
    pub blanks: Vec<Blank>,
}

impl BlanksCall {
    /// The keys of the tokens, once every member is within its limits.
    ///
    /// # Errors
    ///
    /// The first member that is not.
    pub fn keys(&self) -> Result<Vec<TokenKey>, VendorError> {
        if !(1..=BLANKS_MAX).contains(&self.blanks.len()) {
            return Err(VendorError::BlankCount);
        }
        let key = |blank: &Blank| {
            for (name, text) in [("Name", &blank.name), ("Note", &blank.note)] {
                if text.as_ref().is_some_and(|text| !is_text(text, TEXT_CHARS_MAX)) {
                    return Err(VendorError::Text(name, TEXT_CHARS_MAX));
                }
            }
            TokenKey::from_jwk(&blank.jwk).map_err(|_| VendorError::BlankKey)
        };
        self.blanks.iter().map(key).collect()
    }
}

/// Answer to [`BlanksCall`].
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BlanksAnswer {
    /// Tokens that were not known.
    pub added: u32,
    /// Tokens that were.
    pub known: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_outside_their_limits_are_refused_by_name() {
        let base = SeriesSettings::default();
        assert_eq!(base.check(), Ok(()));
        let demo = Some(DemoOffer { seats: 0, days: 14 });
        let refused = SeriesSettings { demo, ..base }.check();
        assert_eq!(refused, Err(VendorError::Number("Demo.Seats", 1, SEATS_MAX)));
        let refused = SeriesSettings { moves_max: 1001, ..base }.check();
        assert_eq!(refused, Err(VendorError::Number("MovesMax", 0, MOVES_MAX)));
        let refused = SeriesSettings { cluster_nodes: 6, ..base }.check();
        assert_eq!(refused, Err(VendorError::Number("ClusterNodes", 0, CLUSTER_NODES_MAX)));
        assert!(serde_json::from_str::<SeriesSettings>(r#"{"Moves":1}"#).is_err());
    }

    #[test]
    fn customer_needs_a_name_and_digits_in_numbers() {
        let customer = |text: &str| serde_json::from_str::<CustomerCall>(text).unwrap().check();
        assert_eq!(customer(r#"{"Name":"ООО Ромашка","ITN":"7707083893"}"#), Ok(()));
        let refused = Err(VendorError::Text("Name", TEXT_CHARS_MAX));
        assert_eq!(customer(r#"{"Name":" "}"#), refused);
        assert_eq!(customer(r#"{"Name":"a","ITN":"77x"}"#), Err(VendorError::Owner));
    }
}
