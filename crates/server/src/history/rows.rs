//! Rows of the table `history` as events, and the database as it is opened for reading.

use std::path::Path;
use std::time::Duration;

use licence_core::key::{KeyNo, KeySeries};
use licence_core::time::Utc;
use rusqlite::{Connection, OpenFlags, Row};
use serde_json::Value;

use super::Event;

/// Columns of `history` in the order in which [`event`] takes them.
pub(crate) const COLUMNS: &str = "no, at, event, subject, key_no, series, reason, detail";

/// How long a read waits where the file is locked, as it is for a moment when its log is folded
/// back.
const BUSY: Duration = Duration::from_secs(5);

/// Opens the database for reading only.
pub(super) fn open(database: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(database, flags)?;
    db.busy_timeout(BUSY)?;
    Ok(db)
}

/// One row as an event.
pub(crate) fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    let detail: Option<String> = row.get(7)?;
    Ok(Event {
        no: row.get(0)?,
        at: Utc::from_unix_millis(row.get(1)?),
        kind: row.get(2)?,
        subject: row.get(3)?,
        key_no: row.get::<_, Option<u32>>(4)?.map(KeyNo),
        series: row.get::<_, Option<u16>>(5)?.map(KeySeries::from_u16),
        reason: row.get(6)?,
        // What is no JSON was not written by us; it is shown as it is.
        detail: detail.map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text))),
    })
}

/// A number that is never below zero, which SQLite does not know.
pub(super) fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: Option<i64> = row.get(column)?;
    Ok(number.unwrap_or(0).try_into().unwrap_or(0))
}

/// A bound on rows as SQL takes it.
pub(super) fn rows_max(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
