//! The list of what happened.

use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, Row, params_from_iter};

use super::{Event, EventFilter, rows};

/// The kinds of which there are so many that the others have an index of their own.
const COMMON: [&str; 4] =
    ["connection_closed", "connection_opened", "session_closed", "session_opened"];

/// Conditions of a query and their values.
#[derive(Default)]
struct Where {
    sql: String,
    values: Vec<SqlValue>,
}

impl Where {
    /// Adds a condition on one value, which it names `?`.
    fn add(&mut self, condition: &str, value: impl Into<SqlValue>) {
        self.values.push(value.into());
        self.sql.push_str(" AND ");
        self.sql.push_str(&condition.replace('?', &format!("?{}", self.values.len())));
    }

    fn kinds(&mut self, kinds: &[String]) {
        if kinds.is_empty() {
            return;
        }
        let mut places = Vec::new();
        for kind in kinds {
            self.values.push(kind.clone().into());
            places.push(format!("?{}", self.values.len()));
        }
        self.sql.push_str(&format!(" AND event IN ({})", places.join(", ")));
        if !kinds.iter().any(|kind| COMMON.contains(&kind.as_str())) {
            // Says nothing that is not so; the words are those of the index.
            let common = COMMON.map(|kind| format!("'{kind}'")).join(", ");
            self.sql.push_str(&format!(" AND event NOT IN ({common})"));
        }
    }

    fn filter(filter: &EventFilter) -> Self {
        let mut all = Self::default();
        if let Some(from) = filter.from {
            all.add("at >= ?", from.unix_millis());
        }
        if let Some(to) = filter.to {
            all.add("at < ?", to.unix_millis());
        }
        if let Some(series) = filter.series {
            all.add("series = ?", i64::from(series.as_u16()));
        }
        if let Some(before) = filter.before {
            all.add("no < ?", before);
        }
        all.kinds(&filter.kinds);
        all
    }
}

/// The query for the newest events first, and its values.
fn query(filter: &EventFilter) -> (String, Vec<SqlValue>) {
    let Where { sql, values } = Where::filter(filter);
    (format!("SELECT {} FROM history WHERE 1{sql} ORDER BY no DESC", rows::COLUMNS), values)
}

/// Events, the newest first.
pub(super) fn list(db: &Connection, filter: &EventFilter) -> rusqlite::Result<Vec<Event>> {
    let (sql, values) = query(filter);
    let text = filter.text.as_deref().map(Wanted::new);
    let mut statement = db.prepare(&sql)?;
    let mut found = statement.query(params_from_iter(values))?;
    let mut events = Vec::new();
    while events.len() < filter.limit
        && let Some(row) = found.next()?
    {
        let is_wanted = match &text {
            None => true,
            Some(text) => text.is_in_row(row)?,
        };
        if is_wanted {
            events.push(rows::event(row)?);
        }
    }
    Ok(events)
}

/// Of the events after a number the newest, the oldest of them first.
pub(super) fn after(
    db: &Connection,
    no: i64,
    filter: &EventFilter,
) -> rusqlite::Result<Vec<Event>> {
    let mut all = Where::filter(filter);
    all.add("no > ?", no);
    let sql = format!(
        "SELECT {} FROM history WHERE 1{} ORDER BY no DESC LIMIT {}",
        rows::COLUMNS,
        all.sql,
        rows::rows_max(filter.limit)
    );
    let mut statement = db.prepare(&sql)?;
    let events = statement.query_map(params_from_iter(all.values), rows::event)?;
    let mut events = events.collect::<rusqlite::Result<Vec<_>>>()?;
    events.reverse();
    Ok(events)
}

/// Number of the latest event; 0 when there is none.
pub(super) fn latest(db: &Connection) -> rusqlite::Result<i64> {
    db.query_row("SELECT coalesce(max(no), 0) FROM history", [], |row| row.get(0))
}

/// A text that is looked for, in any case of any alphabet: SQLite itself knows only the Latin one.
struct Wanted {
    plain: String,
    /// As it stands inside JSON.
    quoted: String,
}

impl Wanted {
    fn new(text: &str) -> Self {
        let plain = text.to_lowercase();
        let quoted = serde_json::Value::String(plain.clone()).to_string();
        // Without the quotes around it, and only those.
        let quoted = quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned();
        Self { plain, quoted }
    }

    /// Whether the subject, reason or detail contains it.
    fn is_in_row(&self, row: &Row<'_>) -> rusqlite::Result<bool> {
        for column in [3, 6, 7] {
            let cell: Option<String> = row.get(column)?;
            if cell.is_some_and(|cell| self.is_in(&cell)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_in(&self, cell: &str) -> bool {
        let cell = cell.to_lowercase();
        cell.contains(&self.plain) || (self.quoted != self.plain && cell.contains(&self.quoted))
    }
}

#[cfg(test)]
mod tests {
    use licence_core::key::KeySeries;
    use licence_core::time::Utc;

    use super::*;
    use crate::store::Retention;
    use crate::store::sqlite::SqliteJournal;

    /// How SQLite goes about a query for these kinds.
    fn plan(filter: &EventFilter) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j.db");
        drop(SqliteJournal::open(&path, Retention::default()).unwrap());
        let db = rows::open(&path).unwrap();
        let (sql, values) = query(filter);
        let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps =
            plan.query_map(params_from_iter(values), |row| row.get::<_, String>(3)).unwrap();
        steps.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn rare_kinds_and_spans_are_found_without_a_walk_over_everything() {
        let kinds = |kinds: &[&str]| kinds.iter().map(|kind| (*kind).to_owned()).collect();
        let all = EventFilter::default();
        for (filter, expected) in [
            (all.clone(), "SCAN history"),
            (EventFilter { kinds: kinds(&["denied"]), ..all.clone() }, "USING INDEX history_rare"),
            (
                EventFilter {
                    kinds: kinds(&["audit", "denied"]),
                    series: Some(KeySeries::from_u16(1)),
                    ..all.clone()
                },
                "USING INDEX history_rare",
            ),
            (
                EventFilter {
                    from: Some(Utc::from_unix_millis(0)),
                    to: Some(Utc::from_unix_millis(1)),
                    ..all
                },
                "USING INDEX history_at (at>? AND at<?)",
            ),
        ] {
            let plan = plan(&filter);
            assert!(plan.contains(expected), "{filter:?}: {plan}");
        }
    }

    #[test]
    fn text_is_found_in_any_case_and_inside_json() {
        for (wanted, cell, expected) in [
            ("ИВАНОВ", "{\"user\":\"Иванов\"}", true),
            ("Ref=\"demo\"", "{\"text\":\"Srvr=\\\"s\\\";Ref=\\\"Demo\\\";\"}", true),
            ("\\\\server", "{\"path\":\"\\\\\\\\SERVER\"}", true),
            ("expired", "expired", true),
            ("expire!", "expired", false),
            ("%", "abc", false),
        ] {
            assert_eq!(Wanted::new(wanted).is_in(cell), expected, "{wanted} {cell}");
        }
    }
}
