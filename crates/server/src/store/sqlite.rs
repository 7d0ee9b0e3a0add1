//! The journal in SQLite: write-ahead log, one transaction for a batch, synced before it returns.
//!
//! Current connections, sessions and memories of keys are rows that come and go; what happened is appended to
//! `history`, how many seats were held to `peak`; both are bounded. Support can open the file with
//! `sqlite3`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use licence_core::journal::{Record, SavedConnection, SavedSession, Snapshot};
use licence_core::key::{KeyNo, KeySeries};
use licence_core::key_memory::KeyMemory;
use licence_core::session::{ConnectionId, EndReason, SessionId};
use licence_core::time::{DAY_MILLIS, Utc};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Journal, Retention, StoreError, marks, schema};
use crate::history::{Event, rows};

/// Rows of history that are kept: at a thousand sessions a day a year and a half. An ordinary row
/// has some 400 bytes; one with the longest texts that the core takes, some 5 KB.
const HISTORY_ROWS_MAX: i64 = 1_000_000;

/// History is cut to its rows after this many appended ones, so that cutting is rare and short.
const HISTORY_CUT_EVERY: u64 = 10_000;

/// Rows that one cut by age takes away at most. Cuts come every hour, so this keeps up with a
/// quarter of a million events a day and holds a commit up for some 50 ms.
const OLD_ROWS_MAX: i64 = 10_000;

/// By how much one cut by age goes beyond the last one. A clock that is years ahead for an hour
/// takes one day of history away and not all of it; a server that was off for a month has caught up
/// after some thirty cuts.
const CUT_STEP_MILLIS: i64 = DAY_MILLIS;

/// The database of one server.
pub struct SqliteJournal {
    db: Connection,
    keep: Retention,
    appended: u64,
    /// Number of the last event that was taken or skipped.
    last_no: i64,
    /// A commit failed, so the next start had better look at the whole file.
    has_failed: bool,
    path: PathBuf,
}

impl SqliteJournal {
    /// Opens the database, making it if there is none.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    pub fn open(path: &Path, keep: Retention) -> Result<Self, StoreError> {
        Self::open_within(path, keep, schema::BUSY)
    }

    /// The same for who waits otherwise for another process that has the file.
    pub(super) fn open_within(
        path: &Path,
        keep: Retention,
        busy: Duration,
    ) -> Result<Self, StoreError> {
        let db = schema::open(path, busy)?;
        schema::set_clean(&db, false)?;
        // Servers that are restarted often never append enough to come to the regular cut.
        cut_rows(&db)?;
        let last_no =
            db.query_row("SELECT max(no) FROM history", [], |row| row.get::<_, Option<i64>>(0))?;
        Ok(Self {
            db,
            keep,
            appended: 0,
            last_no: last_no.unwrap_or(0),
            has_failed: false,
            path: path.to_owned(),
        })
    }

    /// Whether the database came out of a backup since the last start: then who was at work is not
    /// in it. True once.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    pub fn take_restored(&mut self) -> Result<bool, StoreError> {
        Ok(schema::take_restored(&self.db)?)
    }

    fn write(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let change = self.db.transaction()?;
        let mut batch = Batch::default();
        let mut appended = self.appended;
        for record in records {
            appended += apply(&change, &mut batch, record)?;
        }
        for ((series, span), (held, seats)) in batch.peaks {
            add_peak(&change, series, span, held, seats)?;
        }
        // By the clock as it is and not by the latest moment ever seen, which never comes back. But a
        // clock that has jumped ahead and is not believed makes nothing old.
        let clock = records.iter().filter_map(Record::at).max();
        if let (Some(clock), Some(believed)) = (clock, batch.believed) {
            cut_old(
                &change,
                cut_moment(&change, clock.min(believed))?,
                self.keep.days(),
                OLD_ROWS_MAX,
            )?;
        }
        if appended >= HISTORY_CUT_EVERY {
            cut_rows(&change)?;
            appended = 0;
        }
        change.commit()?;
        self.appended = appended;
        Ok(())
    }

    /// Lets the file have so many pages at most, as a full disk would.
    #[cfg(test)]
    pub(super) fn limit_pages(&self, pages: i64) -> Result<(), StoreError> {
        let mut limit = self.db.prepare(&format!("PRAGMA max_page_count = {pages}"))?;
        limit.query_row([], |_| Ok(()))?;
        Ok(())
    }
}

impl Drop for SqliteJournal {
    fn drop(&mut self) {
        if !self.has_failed
            && let Err(error) = schema::set_clean(&self.db, true)
        {
            log::debug!("the database was not closed in good order: {error}");
        }
    }
}

impl Journal for SqliteJournal {
    fn load(&mut self) -> Result<Snapshot, StoreError> {
        let mut snapshot = Snapshot::default();
        let mut rows = self.db.prepare("SELECT id, series, peer, info, created FROM connection")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let id = ConnectionId::from_bytes(blob(row.get(0)?)?);
            let connection = SavedConnection {
                series: series(row.get(1)?)?,
                peer: row.get::<_, String>(2)?.into(),
                info: Arc::new(from_json(&row.get::<_, String>(3)?)?),
                created: Utc::from_unix_millis(row.get(4)?),
            };
            snapshot.connections.insert(id, connection);
        }
        let mut rows = self
            .db
            .prepare("SELECT id, series, connection, info, wish, key_no, opened FROM session")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let id = SessionId::from_bytes(blob(row.get(0)?)?);
            let session = SavedSession {
                series: series(row.get(1)?)?,
                connection: ConnectionId::from_bytes(blob(row.get(2)?)?),
                info: Arc::new(from_json(&row.get::<_, String>(3)?)?),
                wish: Arc::new(from_json(&row.get::<_, String>(4)?)?),
                key_no: row.get::<_, Option<u32>>(5)?.map(KeyNo),
                opened: Utc::from_unix_millis(row.get(6)?),
            };
            snapshot.sessions.insert(id, session);
        }
        let mut rows = self
            .db
            .prepare("SELECT series, key_no, data, salt, read_mac, write_mac FROM key_memory")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let mac = |column| row.get::<_, Option<Vec<u8>>>(column)?.map(blob).transpose();
            let memory = KeyMemory {
                data: row.get(2)?,
                salt: blob(row.get(3)?)?,
                read: mac(4)?,
                write: mac(5)?,
            };
            snapshot.key_memories.insert((series(row.get(0)?)?, KeyNo(row.get(1)?)), memory);
        }
        let seen: Option<i64> = self
            .db
            .query_row("SELECT value FROM mark WHERE name = 'utc_seen'", [], |row| row.get(0))
            .optional()?;
        snapshot.utc_seen = seen.map(Utc::from_unix_millis);
        snapshot.doubt = marks::doubt(&self.db)?;
        Ok(snapshot)
    }

    fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let outcome = self.write(records);
        self.has_failed |= outcome.is_err();
        if let Err(StoreError::Damaged(_)) = outcome {
            schema::suspect(&self.path);
        }
        outcome
    }

    fn take_events(&mut self) -> Result<Vec<Event>, StoreError> {
        let sql = format!("SELECT {} FROM history WHERE no > ?1 ORDER BY no", rows::COLUMNS);
        let mut statement = self.db.prepare_cached(&sql)?;
        let events = statement.query_map([self.last_no], rows::event)?;
        let events = events.collect::<Result<Vec<_>, _>>()?;
        self.last_no = events.last().map_or(self.last_no, |event| event.no);
        Ok(events)
    }

    fn skip_events(&mut self) {
        // Of all tables `history` alone has row ids, so this is its last one.
        let inserted = self.db.last_insert_rowid();
        self.last_no = self.last_no.max(inserted);
    }
}

/// Removes the oldest history beyond the rows that are kept.
fn cut_rows(db: &Connection) -> Result<(), StoreError> {
    db.execute(
        "DELETE FROM history WHERE no <= (SELECT max(no) FROM history) - ?1",
        [HISTORY_ROWS_MAX],
    )?;
    Ok(())
}

/// The moment by which the next cut goes, which is remembered.
fn cut_moment(db: &Connection, clock: Utc) -> Result<Utc, StoreError> {
    let last: Option<i64> = db
        .query_row("SELECT value FROM mark WHERE name = 'cut'", [], |row| row.get(0))
        .optional()?;
    let clock = clock.unix_millis();
    let moment = last.map_or(clock, |last| clock.min(last.saturating_add(CUT_STEP_MILLIS)));
    db.execute(
        "INSERT INTO mark VALUES ('cut', ?1) ON CONFLICT (name) DO UPDATE SET value = ?1",
        [moment],
    )?;
    Ok(Utc::from_unix_millis(moment))
}

/// Removes history and peaks older than `days`, `rows_max` events at most. The latest event stays:
/// its number is what those that follow count on from.
fn cut_old(db: &Connection, now: Utc, days: u32, rows_max: i64) -> Result<(), StoreError> {
    let before = now.plus_millis(-i64::from(days) * DAY_MILLIS).unix_millis();
    db.execute(
        "DELETE FROM history WHERE no IN
           (SELECT no FROM history WHERE at < ?1 ORDER BY at LIMIT ?2)
         AND no < (SELECT max(no) FROM history)",
        [before, rows_max],
    )?;
    db.execute("DELETE FROM peak WHERE at < ?1", [before])?;
    Ok(())
}

fn add_peak(
    change: &Transaction<'_>,
    series: KeySeries,
    span: Utc,
    held: u64,
    seats: u64,
) -> Result<(), StoreError> {
    let number = |number| i64::try_from(number).unwrap_or(i64::MAX);
    change
        .prepare_cached(
            "INSERT INTO peak VALUES (?1, ?2, ?3, ?4) ON CONFLICT (series, at)
             DO UPDATE SET held = max(held, excluded.held), seats = excluded.seats",
        )?
        .execute(params![series.as_u16(), span.unix_millis(), number(held), number(seats)])?;
    Ok(())
}

/// What is done once for all records of a batch.
#[derive(Default)]
struct Batch {
    /// Seats held and there, by series and span. While the users come in the morning the peak rises
    /// with every one of them; a row is written for the highest alone.
    peaks: BTreeMap<(KeySeries, Utc), (u64, u64)>,
    /// The service says once an hour how late it believes it is: the time to remove what is too old.
    believed: Option<Utc>,
}

/// Applies one record; returns how many rows of history it added.
fn apply(change: &Transaction<'_>, batch: &mut Batch, record: &Record) -> Result<u64, StoreError> {
    match record {
        Record::Audit { actor, peer, action, subject, key_no, series, note, at } => {
            #[derive(Serialize)]
            struct Detail<'a> {
                actor: &'a str,
                peer: &'a str,
                note: &'a str,
            }
            let line = History {
                subject: Some(subject.clone()),
                key_no: *key_no,
                series: *series,
                reason: Some(action),
                detail: Some(to_json(&Detail { actor, peer, note })?),
                ..History::new("audit", *at)
            };
            line.append(change)
        }
        Record::ConnectionClosed { id, reason, at } => {
            change
                .prepare_cached("DELETE FROM connection WHERE id = ?1")?
                .execute([id.as_bytes()])?;
            let line = History {
                subject: Some(id.to_string()),
                reason: Some(reason.code()),
                ..History::new("connection_closed", *at)
            };
            line.append(change)
        }
        Record::ConnectionOpened { id, connection } => {
            change
                .prepare_cached("INSERT OR REPLACE INTO connection VALUES (?1, ?2, ?3, ?4, ?5)")?
                .execute(params![
                    id.as_bytes(),
                    connection.series.as_u16(),
                    connection.peer,
                    to_json(&*connection.info)?,
                    connection.created.unix_millis(),
                ])?;
            let line = History {
                subject: Some(id.to_string()),
                series: Some(connection.series),
                ..History::new("connection_opened", connection.created)
            };
            line.append(change)
        }
        Record::Denied { series, session, class, text, holders, peer, rule, at } => {
            #[derive(Serialize)]
            #[serde(rename_all = "PascalCase")]
            struct Holder<'a> {
                session_number: &'a str,
                user_name: Option<&'a str>,
                computer_name: &'a str,
            }
            #[derive(Serialize)]
            struct Detail<'a> {
                text: &'a str,
                session: &'a licence_core::protocol::SessionInfo,
                holders: Vec<Holder<'a>>,
                peer: &'a str,
                rule: Option<&'a str>,
            }
            let holders = holders.iter().map(|holder| Holder {
                session_number: &holder.session_number,
                user_name: holder.user_name.as_deref(),
                computer_name: &holder.computer_name,
            });
            let detail =
                Detail { text, session, holders: holders.collect(), peer, rule: rule.as_deref() };
            let line = History {
                series: Some(*series),
                reason: Some(class),
                detail: Some(to_json(&detail)?),
                ..History::new("denied", *at)
            };
            line.append(change)
        }
        Record::KeyArrived { key_no, series, at } => {
            let line = History {
                key_no: Some(*key_no),
                series: Some(*series),
                ..History::new("key_arrived", *at)
            };
            line.append(change)
        }
        Record::KeyMemory { series, key_no, memory, at } => {
            keep_memory(change, *series, *key_no, memory, *at)?;
            Ok(0)
        }
        Record::KeyRemoved { key_no, at } => {
            let line = History { key_no: Some(*key_no), ..History::new("key_removed", *at) };
            line.append(change)
        }
        Record::SessionClosed { id, reason, at } => close_session(change, *id, *reason, *at),
        Record::SessionMoved { id, connection, key_no, wish, .. } => {
            change
                .prepare_cached(
                    "UPDATE session SET connection = ?2, key_no = ?3, wish = ?4 WHERE id = ?1",
                )?
                .execute(params![
                    id.as_bytes(),
                    connection.as_bytes(),
                    key_no.map(|key_no| key_no.0),
                    to_json(&**wish)?,
                ])?;
            Ok(0)
        }
        Record::SessionOpened { id, session } => {
            let info = to_json(&*session.info)?;
            change
                .prepare_cached(
                    "INSERT OR REPLACE INTO session VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute(params![
                    id.as_bytes(),
                    session.series.as_u16(),
                    session.connection.as_bytes(),
                    info,
                    to_json(&*session.wish)?,
                    session.key_no.map(|key_no| key_no.0),
                    session.opened.unix_millis(),
                ])?;
            let line = History {
                subject: Some(id.to_string()),
                key_no: session.key_no,
                series: Some(session.series),
                detail: Some(info),
                ..History::new("session_opened", session.opened)
            };
            line.append(change)
        }
        Record::Peak { series, span, held, seats } => {
            let most = batch.peaks.entry((*series, *span)).or_default();
            *most = (*held, *seats).max(*most);
            Ok(0)
        }
        Record::ClockDoubted(doubt) => {
            marks::keep_doubt(change, *doubt)?;
            Ok(0)
        }
        Record::UtcSeen(at) => {
            change
                .prepare_cached(
                    "INSERT INTO mark VALUES ('utc_seen', ?1)
                     ON CONFLICT (name) DO UPDATE SET value = max(value, ?1)",
                )?
                .execute([at.unix_millis()])?;
            batch.believed = batch.believed.max(Some(*at));
            Ok(0)
        } // `Record` is closed: a kind added to it stops the build here.
    }
}

/// Puts a memory in the place of the one before; one that nobody has written has no row.
fn keep_memory(
    change: &Transaction<'_>,
    series: KeySeries,
    key_no: KeyNo,
    memory: &KeyMemory,
    at: Utc,
) -> Result<(), StoreError> {
    if memory.is_untouched() {
        change
            .prepare_cached("DELETE FROM key_memory WHERE series = ?1 AND key_no = ?2")?
            .execute(params![series.as_u16(), key_no.0])?;
        return Ok(());
    }
    change
        .prepare_cached("INSERT OR REPLACE INTO key_memory VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
        .execute(params![
            series.as_u16(),
            key_no.0,
            memory.data,
            memory.salt,
            memory.read,
            memory.write,
            at.unix_millis(),
        ])?;
    Ok(())
}

/// Takes a session out and says in the history what it was: reports need no other row then.
fn close_session(
    change: &Transaction<'_>,
    id: SessionId,
    reason: EndReason,
    at: Utc,
) -> Result<u64, StoreError> {
    // `info` is JSON as we wrote it, so it is put in without being read.
    let rows = change
        .prepare_cached(
            "INSERT INTO history (at, event, subject, key_no, series, reason, detail)
             SELECT ?2, 'session_closed', ?3, s.key_no, s.series, ?4,
               '{\"opened\":' || s.opened || ',\"peer\":' || json_quote(
                 (SELECT c.peer FROM connection c WHERE c.id = s.connection))
               || ',\"info\":' || s.info || '}'
             FROM session s WHERE s.id = ?1",
        )?
        .execute(params![id.as_bytes(), at.unix_millis(), id.to_string(), reason.code()])?;
    if rows == 0 {
        let line = History {
            subject: Some(id.to_string()),
            reason: Some(reason.code()),
            ..History::new("session_closed", at)
        };
        return line.append(change);
    }
    change.prepare_cached("DELETE FROM session WHERE id = ?1")?.execute([id.as_bytes()])?;
    Ok(1)
}

struct History {
    event: &'static str,
    at: Utc,
    subject: Option<String>,
    key_no: Option<KeyNo>,
    series: Option<KeySeries>,
    reason: Option<&'static str>,
    detail: Option<String>,
}

impl History {
    const fn new(event: &'static str, at: Utc) -> Self {
        Self { event, at, subject: None, key_no: None, series: None, reason: None, detail: None }
    }

    fn append(&self, change: &Transaction<'_>) -> Result<u64, StoreError> {
        change
            .prepare_cached(
                "INSERT INTO history (at, event, subject, key_no, series, reason, detail)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                self.at.unix_millis(),
                self.event,
                self.subject,
                self.key_no.map(|key_no| key_no.0),
                self.series.map(KeySeries::as_u16),
                self.reason,
                self.detail,
            ])?;
        Ok(1)
    }
}

fn to_json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Damaged(error.to_string()))
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Damaged(error.to_string()))
}

fn blob<const BYTES: usize>(bytes: Vec<u8>) -> Result<[u8; BYTES], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Damaged("bytes of another length".to_owned()))
}

fn series(number: i64) -> Result<KeySeries, StoreError> {
    u16::try_from(number)
        .map(KeySeries::from_u16)
        .map_err(|_| StoreError::Damaged("a series out of range".to_owned()))
}
