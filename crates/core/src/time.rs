//! The two faces of time, both always arguments.
//!
//! [`MonoTime`] never goes back and counts suspension: leases run on it. [`Utc`] is the calendar:
//! licence terms run on it, as far as [`term_clock`] believes it. Nothing in this crate reads a
//! clock.

pub mod term_clock;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// Milliseconds of one day.
pub const DAY_MILLIS: i64 = 86_400_000;

/// A moment of a monotonic clock that counts suspension, in milliseconds from an origin that only
/// the caller knows (usually the start of the machine).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MonoTime(u64);

impl MonoTime {
    /// The moment `millis` milliseconds after the origin.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the origin.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The moment `span` later; stops at the end of the range instead of wrapping.
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A moment of the calendar in UTC, to the millisecond.
///
/// Shown and read as the manual's API does it (chapter «Выполнение команд»): ISO 8601 with
/// milliseconds and `Z`, for example `2018-04-02T20:41:13.272Z`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Utc(i64);

/// The text is not an ISO 8601 moment with an offset, or lies outside the years 0 to 9999.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an ISO 8601 moment such as 2018-04-02T20:41:13.272Z")]
pub struct ParseUtcError;

impl Utc {
    /// Latest moment that can be shown: the last millisecond of the year 9999.
    pub const MAX: Self = Self(253_402_300_799_999);
    /// Earliest moment that can be shown: the first millisecond of the year 0.
    pub const MIN: Self = Self(-62_167_219_200_000);

    /// The moment `millis` milliseconds after 1970-01-01T00:00:00Z, held within [`Self::MIN`] and
    /// [`Self::MAX`].
    pub const fn from_unix_millis(millis: i64) -> Self {
        if millis < Self::MIN.0 {
            Self::MIN
        } else if millis > Self::MAX.0 {
            Self::MAX
        } else {
            Self(millis)
        }
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub const fn unix_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970-01-01T00:00:00Z, as `iat` and `exp` of a JWT want them.
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The moment `millis` later (or earlier), held within the range of the type.
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self::from_unix_millis(self.0.saturating_add(millis))
    }

    /// The moment `days` days later.
    pub const fn plus_days(self, days: u32) -> Self {
        self.plus_millis((days as i64) * DAY_MILLIS)
    }

    /// The moment `span` later.
    pub fn after(self, span: Duration) -> Self {
        self.plus_millis(i64::try_from(span.as_millis()).unwrap_or(i64::MAX))
    }
}

impl From<OffsetDateTime> for Utc {
    fn from(moment: OffsetDateTime) -> Self {
        let millis = moment.unix_timestamp_nanos().div_euclid(1_000_000);
        Self::from_unix_millis(i64::try_from(millis).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            at.millisecond()
        )
    }
}

impl FromStr for Utc {
    type Err = ParseUtcError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A moment has at most some 35 characters: longer text is refused before it is looked at.
        if text.len() > 40 {
            return Err(ParseUtcError);
        }
        let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| ParseUtcError)?;
        // With its offset taken off, a moment of the last or first hours may leave the calendar.
        moment.checked_to_offset(UtcOffset::UTC).map(Self::from).ok_or(ParseUtcError)
    }
}

impl Serialize for Utc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Utc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The moment at which an event is handled, in both clocks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Now {
    /// For leases.
    pub mono: MonoTime,
    /// For licence terms and for what people read.
    pub utc: Utc,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn moment_is_shown_with_milliseconds_and_z() {
        let moment: Utc = "2018-04-02T20:41:13.272Z".parse().unwrap();
        assert_eq!(moment.to_string(), "2018-04-02T20:41:13.272Z");
        assert_eq!(moment.unix_millis(), 1_522_701_673_272);
        let whole: Utc = "2018-04-03T17:06:58+03:00".parse().unwrap();
        assert_eq!(whole.to_string(), "2018-04-03T14:06:58.000Z");
    }

    #[test]
    fn text_that_is_no_moment_is_refused() {
        for text in [
            "",
            "2018",
            "2018-04-02",
            "2018-13-02T20:41:13Z",
            "2018-04-02T20:41:13",
            "9999-12-31T23:59:59-01:00",
            "2018-04-02T20:41:13.272+03:00:00:00:00:00:00",
        ] {
            assert_eq!(text.parse::<Utc>(), Err(ParseUtcError), "{text}");
        }
    }

    #[test]
    fn moment_at_the_ends_of_the_calendar_is_read_or_refused() {
        for text in ["0000-01-01T00:00:00+01:00", "9999-12-31T23:59:59+23:59"] {
            if let Ok(moment) = text.parse::<Utc>() {
                assert_eq!(moment.to_string().parse::<Utc>(), Ok(moment), "{text}");
            }
        }
    }

    proptest! {
        #[test]
        fn shown_moment_is_read_back(millis in Utc::MIN.0..=Utc::MAX.0) {
            let moment = Utc::from_unix_millis(millis);
            prop_assert_eq!(moment.to_string().parse::<Utc>().unwrap(), moment);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,50}") {
            if let Ok(moment) = text.parse::<Utc>() {
                prop_assert_eq!(moment.to_string().parse::<Utc>(), Ok(moment));
            }
        }
    }
}
