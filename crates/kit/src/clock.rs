//! The only place of this crate that reads a clock: the date in the list of blanks.

use std::time::SystemTime;

use licence_core::time::Utc;

/// The present moment of the calendar. A clock before 1970 shows 1970.
#[expect(clippy::disallowed_methods, reason = "this is the clock module")]
pub(crate) fn utc() -> Utc {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Utc::from_unix_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
