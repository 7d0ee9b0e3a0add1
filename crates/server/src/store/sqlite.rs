//! The journal in SQLite: write-ahead log, one transaction for a batch, synced before it returns.
//!
//! Current connections and sessions are rows that come and go; what happened is appended to
//! `history`, which is bounded. Support can open the file with `sqlite3`.

use std::path::Path;
use std::time::Duration;

use licence_core::journal::{Record, SavedConnection, SavedSession, Snapshot};
use licence_core::key::{KeyNo, KeySeries};
use licence_core::session::{ConnectionId, SessionId};
use licence_core::time::Utc;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Journal, StoreError};

/// Rows of history that are kept: at a thousand sessions a day a year and a half. An ordinary row
/// has some 400 bytes; one with the longest texts that the core takes, some 5 KB.
const HISTORY_ROWS_MAX: i64 = 1_000_000;

/// History is cut after this many appended rows, so that cutting is rare and short.
const HISTORY_CUT_EVERY: u64 = 10_000;

/// How long another process (a backup, `sqlite3`) may hold the file before a commit fails.
const BUSY: Duration = Duration::from_secs(5);

/// Version of the schema, in `user_version`.
const SCHEMA_VERSION: i64 = 1;

const SCHEMA_1: &str = "
CREATE TABLE connection (
  id BLOB PRIMARY KEY, series INTEGER NOT NULL, peer TEXT NOT NULL, info TEXT NOT NULL,
  created INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
CREATE TABLE session (
  id BLOB PRIMARY KEY, series INTEGER NOT NULL, connection BLOB NOT NULL, info TEXT NOT NULL,
  wish TEXT NOT NULL, key_no INTEGER, opened INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
CREATE TABLE mark (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE history (
  no INTEGER PRIMARY KEY, at INTEGER NOT NULL, event TEXT NOT NULL, subject TEXT,
  key_no INTEGER, series INTEGER, reason TEXT, detail TEXT
) STRICT;
CREATE INDEX history_at ON history (at);
";

/// The database of one server.
pub struct SqliteJournal {
    db: Connection,
    appended: u64,
}

impl SqliteJournal {
    /// Opens the database, making it if there is none.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut db = Connection::open(path)?;
        db.busy_timeout(BUSY)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        // FULL: a commit is on disk when it returns, also after a power cut.
        db.pragma_update(None, "synchronous", "FULL")?;
        // Readers never keep the log from being folded back for long; 4 MiB of it is plenty.
        db.pragma_update(None, "journal_size_limit", 4 * 1024 * 1024)?;
        db.set_prepared_statement_cache_capacity(32);
        let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version > SCHEMA_VERSION {
            return Err(StoreError::Newer { found: version, known: SCHEMA_VERSION });
        }
        if version == 0 {
            let change = db.transaction()?;
            change.execute_batch(SCHEMA_1)?;
            change.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            change.commit()?;
        }
        // Servers that are restarted often never append enough to come to the regular cut.
        cut_history(&db)?;
        Ok(Self { db, appended: 0 })
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
                peer: row.get(2)?,
                info: from_json(&row.get::<_, String>(3)?)?,
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
                info: from_json(&row.get::<_, String>(3)?)?,
                wish: from_json(&row.get::<_, String>(4)?)?,
                key_no: row.get::<_, Option<u32>>(5)?.map(KeyNo),
                opened: Utc::from_unix_millis(row.get(6)?),
            };
            snapshot.sessions.insert(id, session);
        }
        let seen: Option<i64> = self
            .db
            .query_row("SELECT value FROM mark WHERE name = 'utc_seen'", [], |row| row.get(0))
            .optional()?;
        snapshot.utc_seen = seen.map(Utc::from_unix_millis);
        Ok(snapshot)
    }

    fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let change = self.db.transaction()?;
        for record in records {
            self.appended += apply(&change, record)?;
        }
        if self.appended >= HISTORY_CUT_EVERY {
            cut_history(&change)?;
            self.appended = 0;
        }
        Ok(change.commit()?)
    }
}

/// Removes the oldest history beyond the rows that are kept.
fn cut_history(db: &Connection) -> Result<(), StoreError> {
    db.execute(
        "DELETE FROM history WHERE no <= (SELECT max(no) FROM history) - ?1",
        [HISTORY_ROWS_MAX],
    )?;
    Ok(())
}

/// Applies one record; returns how many rows of history it added.
fn apply(change: &Transaction<'_>, record: &Record) -> Result<u64, StoreError> {
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
                    to_json(&connection.info)?,
                    connection.created.unix_millis(),
                ])?;
            let line = History {
                subject: Some(id.to_string()),
                series: Some(connection.series),
                ..History::new("connection_opened", connection.created)
            };
            line.append(change)
        }
        Record::Denied { series, session, class, text, at } => {
            #[derive(Serialize)]
            struct Detail<'a> {
                text: &'a str,
                session: &'a licence_core::protocol::SessionInfo,
            }
            let line = History {
                series: Some(*series),
                reason: Some(class),
                detail: Some(to_json(&Detail { text, session })?),
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
        Record::KeyRemoved { key_no, at } => {
            let line = History { key_no: Some(*key_no), ..History::new("key_removed", *at) };
            line.append(change)
        }
        Record::SessionClosed { id, reason, at } => {
            change.prepare_cached("DELETE FROM session WHERE id = ?1")?.execute([id.as_bytes()])?;
            let line = History {
                subject: Some(id.to_string()),
                reason: Some(reason.code()),
                ..History::new("session_closed", *at)
            };
            line.append(change)
        }
        Record::SessionMoved { id, connection, key_no, wish, .. } => {
            change
                .prepare_cached(
                    "UPDATE session SET connection = ?2, key_no = ?3, wish = ?4 WHERE id = ?1",
                )?
                .execute(params![
                    id.as_bytes(),
                    connection.as_bytes(),
                    key_no.map(|key_no| key_no.0),
                    to_json(wish)?,
                ])?;
            Ok(0)
        }
        Record::SessionOpened { id, session } => {
            let info = to_json(&session.info)?;
            change
                .prepare_cached(
                    "INSERT OR REPLACE INTO session VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute(params![
                    id.as_bytes(),
                    session.series.as_u16(),
                    session.connection.as_bytes(),
                    info,
                    to_json(&session.wish)?,
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
        Record::UtcSeen(at) => {
            change
                .prepare_cached(
                    "INSERT INTO mark VALUES ('utc_seen', ?1)
                     ON CONFLICT (name) DO UPDATE SET value = max(value, ?1)",
                )?
                .execute([at.unix_millis()])?;
            Ok(0)
        } // `Record` is closed: a kind added to it stops the build here.
    }
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

fn blob(bytes: Vec<u8>) -> Result<[u8; 16], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Damaged("an id of another length".to_owned()))
}

fn series(number: i64) -> Result<KeySeries, StoreError> {
    u16::try_from(number)
        .map(KeySeries::from_u16)
        .map_err(|_| StoreError::Damaged("a series out of range".to_owned()))
}
