//! Single numbers that outlast a restart: a jump of the clock that is not believed.
//!
//! Keeps and reads; what they mean is decided in `core::time::term_clock`.

use std::time::Duration;

use licence_core::time::Utc;
use licence_core::time::term_clock::Doubt;
use rusqlite::{Connection, OptionalExtension, Transaction};

const SINCE: &str = "clock_doubt_since";
const SHOWED: &str = "clock_doubt_showed";
const AHEAD: &str = "clock_doubt_ahead";
const STOOD: &str = "clock_doubt_stood";

/// The jump that is not believed, if there is one.
///
/// # Errors
///
/// Those of the database.
pub(crate) fn doubt(db: &Connection) -> Result<Option<Doubt>, rusqlite::Error> {
    let mut find = db.prepare_cached("SELECT value FROM mark WHERE name = ?1")?;
    let mut mark = |name: &str| -> Result<Option<i64>, rusqlite::Error> {
        find.query_row([name], |row| row.get(0)).optional()
    };
    let (since, showed) = (mark(SINCE)?, mark(SHOWED)?);
    let (ahead, stood) = (mark(AHEAD)?, mark(STOOD)?);
    let (Some(since), Some(showed), Some(ahead_millis), Some(stood)) =
        (since, showed, ahead, stood)
    else {
        return Ok(None);
    };
    Ok(Some(Doubt {
        since: Utc::from_unix_millis(since),
        showed: Utc::from_unix_millis(showed),
        ahead_millis,
        stood: Duration::from_millis(u64::try_from(stood).unwrap_or(0)),
    }))
}

/// Puts it in the place of the one before.
pub(super) fn keep_doubt(
    change: &Transaction<'_>,
    doubt: Option<Doubt>,
) -> Result<(), rusqlite::Error> {
    let Some(doubt) = doubt else {
        change
            .prepare_cached("DELETE FROM mark WHERE name IN (?1, ?2, ?3, ?4)")?
            .execute([SINCE, SHOWED, AHEAD, STOOD])?;
        return Ok(());
    };
    let stood = i64::try_from(doubt.stood.as_millis()).unwrap_or(i64::MAX);
    let mut keep = change.prepare_cached("INSERT OR REPLACE INTO mark VALUES (?1, ?2)")?;
    for (name, value) in [
        (SINCE, doubt.since.unix_millis()),
        (SHOWED, doubt.showed.unix_millis()),
        (AHEAD, doubt.ahead_millis),
        (STOOD, stood),
    ] {
        keep.execute(rusqlite::params![name, value])?;
    }
    Ok(())
}
