//! What the nodes of a cluster share out when rules count seats: one quota for each limit, one for
//! each reservation in a series, and one for all the seats of a series that no reservation keeps.
//!
//! Names and sizes only. Who holds how much is counted by [`crate::service`]; which node may give out
//! how much is decided in [`crate::cluster`].

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::NAME_CHARS_MAX;
use crate::key::KeySeries;

/// Name of a quota. Rules are named without regard to case, so a rule that changes its case keeps its
/// quotas.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum QuotaId {
    /// Seats that those under a limit hold together. The rule's name, in lower case.
    Limit(Arc<str>),
    /// Seats of a series that are kept for nobody.
    Others(KeySeries),
    /// Seats of a series that are kept for those under a reservation. The rule's name, in lower case.
    Reserve(KeySeries, Arc<str>),
}

/// How large a quota is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum QuotaTotal {
    /// All seats of the cluster's keys of a series but so many.
    AllBut(KeySeries, u32),
    /// So many seats.
    Seats(u32),
}

/// A quota as one node sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct QuotaNeed {
    /// How large it is, of all nodes together.
    pub total: QuotaTotal,
    /// Seats that are held of it here.
    pub held: u32,
}

/// The text is no name of a quota.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not the name of a quota")]
pub struct ParseQuotaIdError;

impl QuotaId {
    /// The quota of a limit.
    pub fn limit(rule: &str) -> Self {
        Self::Limit(rule.to_lowercase().into())
    }

    /// The quota of a reservation.
    pub fn reserve(series: KeySeries, rule: &str) -> Self {
        Self::Reserve(series, rule.to_lowercase().into())
    }
}

impl fmt::Display for QuotaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit(rule) => write!(f, "limit/{rule}"),
            Self::Others(series) => write!(f, "others/{series}"),
            Self::Reserve(series, rule) => write!(f, "reserve/{series}/{rule}"),
        }
    }
}

impl FromStr for QuotaId {
    type Err = ParseQuotaIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, rest) = text.split_once('/').ok_or(ParseQuotaIdError)?;
        let series = |text: &str| text.parse().map_err(|_| ParseQuotaIdError);
        let rule = |text: &str| {
            // Lower case may be longer than what it was made from.
            let is_name = !text.is_empty() && text.chars().count() <= 3 * NAME_CHARS_MAX;
            is_name.then(|| Arc::from(text)).ok_or(ParseQuotaIdError)
        };
        match kind {
            "limit" => Ok(Self::Limit(rule(rest)?)),
            "others" => Ok(Self::Others(series(rest)?)),
            "reserve" => {
                let (of, name) = rest.split_once('/').ok_or(ParseQuotaIdError)?;
                Ok(Self::Reserve(series(of)?, rule(name)?))
            }
            _ => Err(ParseQuotaIdError),
        }
    }
}

impl Serialize for QuotaId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for QuotaId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_read_as_it_was_written() {
        let series = KeySeries::from_u16(0x672B);
        for (id, text) in [
            (QuotaId::limit("Гости / 2-й этаж"), "limit/гости / 2-й этаж"),
            (QuotaId::Others(series), "others/672B"),
            (QuotaId::reserve(series, "Админ/ы"), "reserve/672B/админ/ы"),
        ] {
            assert_eq!(id.to_string(), text);
            assert_eq!(text.parse(), Ok(id));
        }
        for text in ["", "limit", "limit/", "others/x", "reserve/672B", "reserve/672B/", "deny/a"] {
            assert_eq!(text.parse::<QuotaId>(), Err(ParseQuotaIdError), "{text}");
        }
    }
}
