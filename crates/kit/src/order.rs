//! Messages about orders between the vendor's tools and the activation centre.
//!
//! Types and their limits only. Numbering keys, drawing codes and keeping the books is the
//! centre's work.

use std::collections::BTreeMap;

use licence_core::activation::ActivationCode;
use licence_core::binding::{Binding, GRACE_DAYS_MAX};
use licence_core::key::{Flags, KeyKind, KeyNo, KeySeries};
use licence_core::parameter_claims::{self, ParametersError};
use licence_core::time::Utc;
use serde::{Deserialize, Serialize};

/// Most codes in one order. A larger sale is several orders: a slip of a finger must not draw a
/// million codes.
pub const COUNT_MAX: u32 = 1000;

/// Most seats of one key; far above any installation of 1C.
pub const SEATS_MAX: u32 = 1_000_000;

/// Longest term in days, a hundred years: ends of terms stay within the calendar of [`Utc`].
pub const PERIOD_DAYS_MAX: u32 = 36_500;

/// Most characters of the article's name (manual: «максимально 100 символов»).
pub const ARTICLE_NAME_CHARS_MAX: usize = 100;

/// Most characters of an article.
pub const ARTICLE_CHARS_MAX: usize = 50;

/// Most characters of the edition's name, as for articles: it travels in every licence.
pub const VERSION_NAME_CHARS_MAX: usize = 100;

/// Most characters of the vendor's own note, which stays in the centre's books.
pub const NOTE_CHARS_MAX: usize = 500;

/// Most digits of ИНН and КПП, as licence documents hold them.
pub const OWNER_DIGITS_MAX: usize = 12;

/// Most servers that may share a key as nodes of a cluster. Five of them outlive the loss of two; a
/// key that is in more places costs nobody less and is easier to misuse.
pub const CLUSTER_NODES_MAX: u32 = 5;

/// Main, additional or demo, as orders name it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum OrderKind {
    /// Widens a main key.
    Additional,
    /// For a trial.
    Demo,
    /// The ordinary key.
    Main,
}

impl From<OrderKind> for KeyKind {
    fn from(kind: OrderKind) -> Self {
        match kind {
            OrderKind::Additional => Self::Additional,
            OrderKind::Demo => Self::Demo,
            OrderKind::Main => Self::Main,
        }
    }
}

impl From<KeyKind> for OrderKind {
    fn from(kind: KeyKind) -> Self {
        match kind {
            KeyKind::Additional => Self::Additional,
            KeyKind::Demo => Self::Demo,
            KeyKind::Main => Self::Main,
        }
    }
}

/// Body of `POST /api/orders`: what the buyer paid for. A member that is not known is refused,
/// because a misspelt term would sell an unlimited key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct OrderCall {
    /// The series.
    pub series: KeySeries,
    /// Main, additional or demo.
    pub kind: OrderKind,
    /// Seats of each key, 1 to [`SEATS_MAX`].
    pub seats: u32,
    /// How many keys, 1 to [`COUNT_MAX`]; one code each.
    #[serde(default = "one")]
    pub count: u32,
    /// Term in days from the start or the activation, up to [`PERIOD_DAYS_MAX`]; 0 is no limit.
    #[serde(default)]
    pub period: u32,
    /// First moment of use.
    #[serde(default)]
    pub start_date: Option<Utc>,
    /// First moment at which the keys may no longer be used or activated.
    #[serde(default)]
    pub expire_date: Option<Utc>,
    /// 32 feature flags.
    #[serde(default)]
    pub flags: Flags,
    /// Newest product version covered; 0 covers all.
    #[serde(default)]
    pub product_version: u32,
    /// Special 1C services; 0 is the ordinary case.
    #[serde(default)]
    pub service_type: u8,
    /// Registration number.
    #[serde(default)]
    pub reg_no: Option<u32>,
    /// Article, up to [`ARTICLE_CHARS_MAX`] characters.
    #[serde(default)]
    pub article: Option<String>,
    /// Name of the article, up to [`ARTICLE_NAME_CHARS_MAX`] characters.
    #[serde(default)]
    pub article_name: Option<String>,
    /// Owner's ИНН: then only who names it may activate.
    #[serde(rename = "ITN", default)]
    pub itn: Option<String>,
    /// Owner's КПП: then only who names it may activate.
    #[serde(rename = "IEC", default)]
    pub iec: Option<String>,
    /// For the vendor's eyes, up to [`NOTE_CHARS_MAX`] characters.
    #[serde(default)]
    pub note: Option<String>,
    /// Name of the edition behind the product version, up to [`VERSION_NAME_CHARS_MAX`]
    /// characters.
    #[serde(default)]
    pub product_version_name: Option<String>,
    /// First day of support.
    #[serde(default)]
    pub support_date: Option<Utc>,
    /// Days of support, up to [`PERIOD_DAYS_MAX`].
    #[serde(default)]
    pub support_period: Option<u32>,
    /// First day of industry support.
    #[serde(default)]
    pub industry_support_date: Option<Utc>,
    /// Days of industry support, up to [`PERIOD_DAYS_MAX`].
    #[serde(default)]
    pub industry_support_period: Option<u32>,
    /// Licence parameters by name, within the limits of [`parameter_claims::check`]: they travel in
    /// every licence of the order.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "parameter_claims::each_once"
    )]
    pub parameters: BTreeMap<String, String>,
    /// The customer of the centre's books who bought.
    #[serde(rename = "CustomerID", default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<i64>,
    /// How strictly the licences are bound to a computer; without it the series decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<Binding>,
    /// How many servers may share a key as nodes of one cluster, up to [`CLUSTER_NODES_MAX`]; 0 keeps
    /// it on a single server, without it the series decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_nodes: Option<u32>,
}

const fn one() -> u32 {
    1
}

/// Why an order is not taken; each names the member at fault.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderError {
    /// Days of grace out of range.
    #[error("Binding.GraceDays must be 0 to {GRACE_DAYS_MAX} days")]
    Binding,
    /// Nodes of a cluster out of range.
    #[error("ClusterNodes must be 0 to {CLUSTER_NODES_MAX}")]
    ClusterNodes,
    /// Count out of range.
    #[error("Count must be 1 to {COUNT_MAX}")]
    Count,
    /// The end is not after the start, or has come.
    #[error("ExpireDate must lie ahead and after StartDate")]
    Expire,
    /// ИНН or КПП.
    #[error("ITN and IEC are 1 to {OWNER_DIGITS_MAX} digits")]
    Owner,
    /// Licence parameters.
    #[error("Parameters: {0}")]
    Parameters(ParametersError),
    /// Period out of range.
    #[error("Period must be 0 to {PERIOD_DAYS_MAX} days")]
    Period,
    /// Days of support out of range.
    #[error("SupportPeriod and IndustrySupportPeriod must be 0 to {PERIOD_DAYS_MAX} days")]
    SupportPeriod,
    /// Seats out of range.
    #[error("Seats must be 1 to {SEATS_MAX}")]
    Seats,
    /// A text is empty, too long or holds control characters.
    #[error("{0} must be 1 to {1} characters without control characters")]
    Text(&'static str, usize),
}

impl OrderCall {
    /// Whether every member is within its limits at the moment `now`.
    ///
    /// # Errors
    ///
    /// The first member that is not.
    pub fn check(&self, now: Utc) -> Result<(), OrderError> {
        if !(1..=COUNT_MAX).contains(&self.count) {
            return Err(OrderError::Count);
        }
        if !(1..=SEATS_MAX).contains(&self.seats) {
            return Err(OrderError::Seats);
        }
        if self.period > PERIOD_DAYS_MAX {
            return Err(OrderError::Period);
        }
        let support = [self.support_period, self.industry_support_period];
        if support.into_iter().flatten().any(|days| days > PERIOD_DAYS_MAX) {
            return Err(OrderError::SupportPeriod);
        }
        if self.expire_date.is_some_and(|end| end <= self.start_date.unwrap_or(now).max(now)) {
            return Err(OrderError::Expire);
        }
        for (name, text, limit) in [
            ("Article", &self.article, ARTICLE_CHARS_MAX),
            ("ArticleName", &self.article_name, ARTICLE_NAME_CHARS_MAX),
            ("Note", &self.note, NOTE_CHARS_MAX),
            ("ProductVersionName", &self.product_version_name, VERSION_NAME_CHARS_MAX),
        ] {
            if let Some(text) = text
                && (text.is_empty()
                    || text.chars().count() > limit
                    || text.chars().any(char::is_control))
            {
                return Err(OrderError::Text(name, limit));
            }
        }
        if [&self.itn, &self.iec].into_iter().flatten().any(|digits| !is_owner_number(digits)) {
            return Err(OrderError::Owner);
        }
        if self.binding.is_some_and(|binding| binding.grace_days > GRACE_DAYS_MAX) {
            return Err(OrderError::Binding);
        }
        if self.cluster_nodes.is_some_and(|nodes| nodes > CLUSTER_NODES_MAX) {
            return Err(OrderError::ClusterNodes);
        }
        parameter_claims::check(&self.parameters).map_err(OrderError::Parameters)
    }
}

/// Whether a text can be an ИНН or КПП: 1 to [`OWNER_DIGITS_MAX`] digits.
pub fn is_owner_number(text: &str) -> bool {
    (1..=OWNER_DIGITS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Answer to [`OrderCall`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct OrderAnswer {
    /// Number of the order.
    #[serde(rename = "OrderID")]
    pub order_id: i64,
    /// One code for each key.
    pub codes: Vec<IssuedCode>,
}

/// A code and the key that it will activate.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct IssuedCode {
    /// The code.
    pub code: ActivationCode,
    /// Serial number of the key.
    pub key_no: KeyNo,
}

/// Answer to `GET /api/orders`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct OrderList {
    /// Orders, newest first.
    pub orders: Vec<OrderView>,
    /// When there may be older ones: ask for them with `?before=` this number.
    #[serde(default)]
    pub next: Option<i64>,
}

/// An order with what became of its codes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct OrderView {
    /// Number of the order.
    #[serde(rename = "OrderID")]
    pub order_id: i64,
    /// When it was taken.
    pub created: Utc,
    /// When it was revoked, if it was.
    pub revoked: Option<Utc>,
    /// What was ordered.
    pub order: OrderCall,
    /// Its codes.
    pub codes: Vec<CodeView>,
}

/// What became of a code.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CodeView {
    /// The code.
    pub code: ActivationCode,
    /// Serial number of the key.
    pub key_no: KeyNo,
    /// Whether it was used.
    pub state: CodeState,
    /// When it was used.
    pub activated: Option<Utc>,
    /// By which computer, 40 hex digits.
    #[serde(rename = "ComputerID")]
    pub computer_id: Option<String>,
    /// The code that installs the key again, when it was given back and not installed since.
    #[serde(default)]
    pub reserve_code: Option<ActivationCode>,
}

/// Whether a code was used.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum CodeState {
    /// A licence was issued for it.
    Activated,
    /// Nobody has used it.
    Free,
    /// The key was given back and waits for its reserve code.
    Returned,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Utc {
        Utc::from_unix_millis(1_800_000_000_000)
    }

    fn order() -> OrderCall {
        serde_json::from_str(r#"{"Series":"672B","Kind":"main","Seats":5}"#).unwrap()
    }

    #[test]
    fn order_needs_series_kind_and_seats_and_nothing_else() {
        assert_eq!(order().count, 1);
        assert_eq!(order().check(now()), Ok(()));
        for bad in [
            r#"{"Series":"672B","Kind":"main"}"#,
            r#"{"Series":"672B","Kind":"Main","Seats":5}"#,
            r#"{"Series":"672B","Kind":"main","Seats":5,"Perod":30}"#,
            r#"{"Series":"672B","Kind":"main","Seats":-5}"#,
        ] {
            assert!(serde_json::from_str::<OrderCall>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn member_outside_its_limits_is_refused_by_name() {
        let check = |order: OrderCall, wanted: OrderError| {
            assert_eq!(order.check(now()), Err(wanted));
        };
        check(OrderCall { count: 0, ..order() }, OrderError::Count);
        check(OrderCall { count: 1001, ..order() }, OrderError::Count);
        check(OrderCall { cluster_nodes: Some(6), ..order() }, OrderError::ClusterNodes);
        check(OrderCall { seats: 0, ..order() }, OrderError::Seats);
        check(OrderCall { seats: 1_000_001, ..order() }, OrderError::Seats);
        check(OrderCall { period: 36_501, ..order() }, OrderError::Period);
        let long = Some(36_501);
        check(OrderCall { support_period: long, ..order() }, OrderError::SupportPeriod);
        check(OrderCall { industry_support_period: long, ..order() }, OrderError::SupportPeriod);
        let name = Some("x".repeat(101));
        check(
            OrderCall { product_version_name: name, ..order() },
            OrderError::Text("ProductVersionName", VERSION_NAME_CHARS_MAX),
        );
        check(OrderCall { expire_date: Some(now()), ..order() }, OrderError::Expire);
        let start = Some(now().plus_days(2));
        let expire = Some(now().plus_days(1));
        check(OrderCall { start_date: start, expire_date: expire, ..order() }, OrderError::Expire);
        check(OrderCall { itn: Some("12a".into()), ..order() }, OrderError::Owner);
        check(OrderCall { iec: Some(String::new()), ..order() }, OrderError::Owner);
        let name = Some("я".repeat(101));
        check(
            OrderCall { article_name: name, ..order() },
            OrderError::Text("ArticleName", ARTICLE_NAME_CHARS_MAX),
        );
        let name = Some("я".repeat(100));
        assert_eq!(OrderCall { article_name: name, ..order() }.check(now()), Ok(()));
    }
}
