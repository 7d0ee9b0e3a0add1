//! Use summed up by user, computer, infobase, application or series, and refusals by their reason.
//!
//! A session counts where its life and the span overlap, with the part that lies within.

use licence_core::key::KeySeries;
use licence_core::time::{DAY_MILLIS, Utc};
use rusqlite::{Connection, Row, params};

use super::{DenialLine, GroupBy, UseLine, rows};

/// How long after the span a session may have ended to be looked for, in milliseconds: one that
/// was open for longer would cost a walk over all the history since.
const ENDED_LATER_MILLIS: i64 = 31 * DAY_MILLIS;

impl GroupBy {
    /// What names a line: an expression over the JSON of a session, or over the series.
    fn expression(self, session: &str) -> String {
        let field = match self {
            Self::Application => "AppName",
            Self::Computer => "ComputerName",
            Self::Infobase => "InfoBaseConnectionStr",
            Self::Series => return "printf('%04X', series)".to_owned(),
            Self::User => "UserName",
        };
        format!("coalesce({session}{field}'), '')")
    }
}

/// Which lines are wanted.
pub(super) struct Summary {
    pub(super) by: GroupBy,
    pub(super) series: Option<KeySeries>,
    pub(super) from: Utc,
    pub(super) to: Utc,
    pub(super) limit: usize,
    /// The present: sessions still open have lasted until then.
    pub(super) now: Utc,
}

/// Use summed up, the longest first.
pub(super) fn lines(db: &Connection, wanted: &Summary) -> rusqlite::Result<Vec<UseLine>> {
    let ended = wanted.by.expression("json_extract(detail, '$.info.");
    let open = wanted.by.expression("json_extract(info, '$.");
    let denied = wanted.by.expression("json_extract(detail, '$.session.");
    let sql = format!(
        "SELECT name, sum(one), sum(millis) / 1000, max(millis) / 1000, sum(denied) FROM (
           SELECT {ended} AS name, 1 AS one, 0 AS denied,
             max(0, min(at, ?2) - max(json_extract(detail, '$.opened'), ?1)) AS millis
           FROM history
           WHERE at >= ?1 AND at < ?5 AND event = 'session_closed' AND (?3 IS NULL OR series = ?3)
             AND json_extract(detail, '$.opened') < ?2
           UNION ALL
           SELECT {open}, 1, 0, max(0, min(?4, ?2) - max(opened, ?1)) FROM session
           WHERE opened < ?2 AND ?4 >= ?1 AND (?3 IS NULL OR series = ?3)
           UNION ALL
           SELECT {denied}, 0, 1, 0 FROM history
           WHERE at >= ?1 AND at < ?2 AND event = 'denied' AND (?3 IS NULL OR series = ?3)
         ) GROUP BY name ORDER BY sum(millis) DESC, sum(denied) DESC, name LIMIT ?6"
    );
    let mut statement = db.prepare(&sql)?;
    let lines = statement.query_map(
        params![
            wanted.from.unix_millis(),
            wanted.to.unix_millis(),
            wanted.series.map(KeySeries::as_u16),
            wanted.now.unix_millis(),
            wanted.to.plus_millis(ENDED_LATER_MILLIS).unix_millis(),
            rows::rows_max(wanted.limit),
        ],
        |row| {
            Ok(UseLine {
                name: row.get(0)?,
                sessions: rows::count(row, 1)?,
                seconds: rows::count(row, 2)?,
                longest_seconds: rows::count(row, 3)?,
                denied: rows::count(row, 4)?,
            })
        },
    )?;
    lines.collect()
}

/// Refusals by series and reason, the most frequent first.
pub(super) fn denials(
    db: &Connection,
    series: Option<KeySeries>,
    from: Utc,
    to: Utc,
    limit: usize,
) -> rusqlite::Result<Vec<DenialLine>> {
    let mut statement = db.prepare(
        "SELECT series, coalesce(reason, ''), count(*), max(at) FROM history
         WHERE at >= ?1 AND at < ?2 AND event = 'denied' AND (?3 IS NULL OR series = ?3)
         GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT ?4",
    )?;
    let line = |row: &Row<'_>| {
        Ok(DenialLine {
            series: row.get::<_, Option<u16>>(0)?.map(KeySeries::from_u16),
            reason: row.get(1)?,
            count: rows::count(row, 2)?,
            last: Utc::from_unix_millis(row.get(3)?),
        })
    };
    let series = series.map(KeySeries::as_u16);
    let lines = statement.query_map(
        params![from.unix_millis(), to.unix_millis(), series, rows::rows_max(limit)],
        line,
    )?;
    lines.collect()
}
