//! What a protection key is and what it grants.
//!
//! Values only: which keys may give out seats at a moment is decided in [`crate::pool`], and how a
//! key travels as a signed file in [`crate::licence_file`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::access_code::AccessCode;
use crate::cluster::ClusterId;
use crate::time::{DAY_MILLIS, Utc};

/// Which product a key belongs to: four hex digits, for example `672B` (manual, «Ключи защиты»).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeySeries(u16);

/// The text is not four hex digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a key series is four hex digits, for example 672B")]
pub struct ParseKeySeriesError;

impl KeySeries {
    /// The series with this number.
    pub const fn from_u16(number: u16) -> Self {
        Self(number)
    }

    /// The number behind the four digits.
    pub const fn as_u16(self) -> u16 {
        self.0
    }
}

impl FromStr for KeySeries {
    type Err = ParseKeySeriesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // `from_str_radix` alone would take `+72B`.
        if text.len() != 4 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ParseKeySeriesError);
        }
        u16::from_str_radix(text, 16).map(Self).map_err(|_| ParseKeySeriesError)
    }
}

impl fmt::Display for KeySeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04X}", self.0)
    }
}

impl Serialize for KeySeries {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeySeries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Serial number of one key, given when the key is made (manual, `KeyNo`). Unique within the
/// vendor's centre, whatever the series.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct KeyNo(pub u32);

impl fmt::Display for KeyNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for KeyNo {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // `u32` alone would take `+5`.
        if text.starts_with('+') { "x".parse().map(Self) } else { text.parse().map(Self) }
    }
}

/// What a key is for (manual, «Ключи защиты»).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum KeyKind {
    /// The ordinary key; published as 3.
    Main,
    /// Widens a main key on the same server and is worth nothing without one; published as 4.
    Additional,
    /// For a trial: stands alone, never adds to others; published as 5.
    Demo,
}

impl KeyKind {
    /// The published number (`KeyType`).
    pub const fn code(self) -> u8 {
        match self {
            Self::Main => 3,
            Self::Additional => 4,
            Self::Demo => 5,
        }
    }

    /// The kind with a published number, if there is one.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            3 => Some(Self::Main),
            4 => Some(Self::Additional),
            5 => Some(Self::Demo),
            _ => None,
        }
    }
}

/// What keeps a key from working on this server.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Obstacle {
    /// It is bound to the identity of another server.
    BoundElsewhere,
    /// Too many parts of the computer have changed, and the days of grace are over.
    HardwareChanged,
    /// The licence wants the identity to be in a TPM, and it is not.
    NeedsTpm,
    /// It is a licence of a cluster, and this server is no member of that cluster.
    NoCluster,
    /// It is bound to a token that is not there.
    TokenAbsent,
    /// It is bound to a token that has not answered once: until it is asked again, seats that are
    /// held go on and no others are given out.
    TokenInDoubt,
}

/// Feature flags of a key, shown as 32 binary digits (manual, `Flags`).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Flags(pub u32);

/// The text is not 32 binary digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("flags are 32 binary digits")]
pub struct ParseFlagsError;

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032b}", self.0)
    }
}

impl FromStr for Flags {
    type Err = ParseFlagsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 32 || !text.bytes().all(|b| matches!(b, b'0' | b'1')) {
            return Err(ParseFlagsError);
        }
        u32::from_str_radix(text, 2).map(Self).map_err(|_| ParseFlagsError)
    }
}

impl Serialize for Flags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Flags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// From when until when a key may be used (manual: `StartDate`, `Period`, `ExpireDate`).
///
/// A period counts from the start, or from the activation when there is no start. With both a
/// period and an end date the earlier one ends the key. Without either the key has no end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Term {
    /// When the key was activated.
    pub activated: Utc,
    /// First moment of use, when later than the activation.
    pub start: Option<Utc>,
    /// Length in days; 0 is no limit.
    pub period_days: u32,
    /// First moment at which the key may no longer be used.
    pub expire: Option<Utc>,
}

impl Term {
    /// First moment at which the key may no longer be used, if there is one.
    pub fn end(&self) -> Option<Utc> {
        let by_period = (self.period_days > 0)
            .then(|| self.start.unwrap_or(self.activated).plus_days(self.period_days));
        match (by_period, self.expire) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Whether the end has come.
    pub fn is_expired(&self, utc: Utc) -> bool {
        self.end().is_some_and(|end| end <= utc)
    }

    /// Whether the start has come.
    pub fn has_started(&self, utc: Utc) -> bool {
        self.start.is_none_or(|start| start <= utc)
    }

    /// Days until the end, a begun day counting as one; 0 once expired, nothing without an end.
    pub fn days_left(&self, utc: Utc) -> Option<u32> {
        let left = self.end()?.unix_millis().saturating_sub(utc.unix_millis()).max(0);
        Some(
            u32::try_from(left.div_euclid(DAY_MILLIS) + i64::from(left % DAY_MILLIS != 0))
                .unwrap_or(u32::MAX),
        )
    }

    /// The next moment after `utc` at which [`Self::has_started`] or [`Self::is_expired`] changes.
    pub fn next_change(&self, utc: Utc) -> Option<Utc> {
        [self.start, self.end()].into_iter().flatten().filter(|at| *at > utc).min()
    }
}

/// What the core needs to know of an installed key in order to count seats.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProtectionKey {
    /// Serial number.
    pub key_no: KeyNo,
    /// Product.
    pub series: KeySeries,
    /// Main, additional or demo.
    pub kind: KeyKind,
    /// Seats that it grants at one time.
    pub seats: u32,
    /// From when until when.
    pub term: Term,
    /// Newest product version that it covers; 0 covers all.
    pub product_version: u32,
    /// Special 1C services (manual, `ServiceType`); 0 is the ordinary case.
    pub service_type: u8,
    /// Registration number, when it has one.
    pub reg_no: Option<u32>,
    /// Owner's ИНН as text, leading zeros kept.
    pub itn: Option<String>,
    /// Owner's КПП as text, leading zeros kept.
    pub iec: Option<String>,
    /// What keeps it from working on this server, whatever its term. Such a key is shown and grants
    /// nothing.
    pub obstacle: Option<Obstacle>,
    /// Access code set by the administrator: only sessions that name it may use the key.
    pub access_code: Option<AccessCode>,
    /// The cluster whose nodes share its seats. Such a key gives out here only the seats of the
    /// block that this node holds of it; see [`crate::cluster`].
    pub cluster: Option<ClusterId>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn term(start: Option<i64>, period_days: u32, expire: Option<i64>) -> Term {
        Term {
            activated: Utc::from_unix_millis(0),
            start: start.map(Utc::from_unix_millis),
            period_days,
            expire: expire.map(Utc::from_unix_millis),
        }
    }

    #[test]
    fn series_is_four_hex_digits_and_nothing_else() {
        assert_eq!("672b".parse::<KeySeries>().unwrap().to_string(), "672B");
        for text in ["", "72B", "+72B", "0672B", "672G", "６７２B", "67 B"] {
            assert_eq!(text.parse::<KeySeries>(), Err(ParseKeySeriesError), "{text}");
        }
    }

    #[test]
    fn key_number_takes_digits_only() {
        assert_eq!("7131766".parse::<KeyNo>().unwrap(), KeyNo(7_131_766));
        for text in ["", "+1", "-1", "1 ", "4294967296", "0x1"] {
            assert!(text.parse::<KeyNo>().is_err(), "{text}");
        }
    }

    #[test]
    fn key_kinds_have_the_published_numbers() {
        for (kind, code) in [(KeyKind::Main, 3), (KeyKind::Additional, 4), (KeyKind::Demo, 5)] {
            assert_eq!(kind.code(), code);
            assert_eq!(KeyKind::from_code(code), Some(kind));
        }
        assert_eq!(KeyKind::from_code(2), None);
    }

    #[test]
    fn key_without_period_and_end_never_expires() {
        let term = term(None, 0, None);
        assert!(!term.is_expired(Utc::MAX));
        assert_eq!(term.days_left(Utc::MAX), None);
        assert_eq!(term.next_change(Utc::MIN), None);
    }

    #[test]
    fn earlier_of_period_and_end_date_ends_the_key() {
        let day = DAY_MILLIS;
        assert_eq!(term(None, 3, None).end(), Some(Utc::from_unix_millis(3 * day)));
        assert_eq!(term(Some(day), 3, None).end(), Some(Utc::from_unix_millis(4 * day)));
        assert_eq!(term(None, 3, Some(day)).end(), Some(Utc::from_unix_millis(day)));
        assert_eq!(term(None, 3, Some(9 * day)).end(), Some(Utc::from_unix_millis(3 * day)));
    }

    #[test]
    fn begun_day_counts_as_a_day_left() {
        let term = term(None, 2, None);
        for (at, days) in [(0, 2), (1, 2), (DAY_MILLIS, 1), (2 * DAY_MILLIS - 1, 1)] {
            assert_eq!(term.days_left(Utc::from_unix_millis(at)), Some(days), "{at}");
        }
        assert_eq!(term.days_left(Utc::from_unix_millis(2 * DAY_MILLIS)), Some(0));
        assert!(term.is_expired(Utc::from_unix_millis(2 * DAY_MILLIS)));
    }

    proptest! {
        #[test]
        fn series_and_flags_are_read_back(series: u16, flags: u32) {
            let shown = KeySeries::from_u16(series).to_string();
            prop_assert_eq!(shown.parse::<KeySeries>().unwrap().as_u16(), series);
            prop_assert_eq!(Flags(flags).to_string().parse::<Flags>().unwrap(), Flags(flags));
        }

        #[test]
        fn any_text_is_a_series_or_refused(text in ".{0,8}") {
            if let Ok(series) = text.parse::<KeySeries>() {
                prop_assert_eq!(series.to_string(), text.to_ascii_uppercase());
            }
        }
    }
}
