//! Use over time: peaks, sessions opened and refusals per span.

use std::collections::BTreeMap;

use licence_core::key::KeySeries;
use licence_core::service::PEAK_SPAN_MILLIS;
use licence_core::time::Utc;
use rusqlite::{Connection, params};

use super::{UsePoint, rows};

/// Begin of the span of use in which a moment lies: a peak belongs to its span as a whole.
fn span_begin(at: Utc) -> i64 {
    at.unix_millis().div_euclid(PEAK_SPAN_MILLIS) * PEAK_SPAN_MILLIS
}

/// Use of a series in spans of `step_seconds`, those of the calendar in UTC.
pub(super) fn points(
    db: &Connection,
    series: KeySeries,
    from: Utc,
    to: Utc,
    step_seconds: u32,
) -> rusqlite::Result<Vec<UsePoint>> {
    let step = (i64::from(step_seconds) * 1000).max(PEAK_SPAN_MILLIS);
    let mut points: BTreeMap<i64, UsePoint> = BTreeMap::new();
    let mut peaks = db.prepare(
        "SELECT at / ?4 * ?4, max(held), max(seats) FROM peak
         WHERE series = ?1 AND at >= ?2 AND at < ?3 GROUP BY 1",
    )?;
    let mut found =
        peaks.query(params![series.as_u16(), span_begin(from), to.unix_millis(), step])?;
    while let Some(row) = found.next()? {
        let point = point(&mut points, row.get(0)?);
        point.peak = rows::count(row, 1)?;
        point.seats = rows::count(row, 2)?;
    }
    let mut counts = db.prepare(
        "SELECT at / ?4 * ?4, event, count(*) FROM history
         WHERE at >= ?2 AND at < ?3 AND event IN ('denied', 'session_opened') AND series = ?1
         GROUP BY 1, 2",
    )?;
    let mut found =
        counts.query(params![series.as_u16(), from.unix_millis(), to.unix_millis(), step])?;
    while let Some(row) = found.next()? {
        let point = point(&mut points, row.get(0)?);
        if row.get_ref(1)?.as_str()? == "denied" {
            point.denied = rows::count(row, 2)?;
        } else {
            point.opened = rows::count(row, 2)?;
        }
    }
    Ok(points.into_values().collect())
}

fn point(points: &mut BTreeMap<i64, UsePoint>, at: i64) -> &mut UsePoint {
    let begin = Utc::from_unix_millis(at);
    points.entry(at).or_insert(UsePoint { at: begin, peak: 0, seats: 0, opened: 0, denied: 0 })
}

/// Peak and refusals of a series since a moment.
pub(super) fn since(db: &Connection, series: KeySeries, from: Utc) -> rusqlite::Result<(u64, u64)> {
    let peak = db.query_row(
        "SELECT max(held) FROM peak WHERE series = ?1 AND at >= ?2",
        params![series.as_u16(), span_begin(from)],
        |row| rows::count(row, 0),
    )?;
    let denied = db.query_row(
        "SELECT count(*) FROM history WHERE at >= ?2 AND event = 'denied' AND series = ?1",
        params![series.as_u16(), from.unix_millis()],
        |row| rows::count(row, 0),
    )?;
    Ok((peak, denied))
}

/// The series of which some use is known.
pub(super) fn series(db: &Connection) -> rusqlite::Result<Vec<KeySeries>> {
    let mut all = db.prepare("SELECT DISTINCT series FROM peak ORDER BY series")?;
    let all = all.query_map([], |row| Ok(KeySeries::from_u16(row.get(0)?)))?;
    all.collect()
}
