//! The only place of the component that reads a clock: the calendar, for the log and for the end of
//! session keys, and the clock of `licence-client` on which leases run, for what is kept.

use licence_client::{Clock, SystemClock};
use licence_core::time::{MonoTime, Utc};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

const FILE_STAMP: &[BorrowedFormatItem<'_>] =
    format_description!("[year][month][day]-[hour][minute][second]");
const LINE_STAMP: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:3]");

#[expect(clippy::disallowed_methods, reason = "the clock module of this crate")]
fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// The present moment of the calendar, for what a session key of ИС МП ends by.
pub(crate) fn utc() -> Utc {
    now().into()
}

/// The moment for the name of a log file, `YYYYMMDD-HHNNSS`, in UTC: the local time zone of a
/// process with other threads cannot be read safely on Unix.
pub(crate) fn file_stamp() -> String {
    now().format(FILE_STAMP).unwrap_or_default()
}

/// The moment for a line of the log, in UTC, to the millisecond.
pub(crate) fn line_stamp() -> String {
    now().format(LINE_STAMP).unwrap_or_default()
}

/// The present moment of the monotonic clock.
pub(crate) fn mono() -> MonoTime {
    SystemClock.now()
}
