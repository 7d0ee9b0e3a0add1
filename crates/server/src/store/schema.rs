//! Opening the database: its shape, the steps from one version to the next, and whether the file
//! can be trusted.
//!
//! Every version ever released can be opened. What the rows mean is [`super::sqlite`]'s.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};

use super::StoreError;

/// Version of the schema, in `user_version`.
pub(crate) const SCHEMA_VERSION: i64 = 3;

/// How long another process (a backup, `sqlite3`) may hold the file before opening or a commit
/// fails.
pub(super) const BUSY: Duration = Duration::from_secs(5);

/// A database up to this size is read through at a start after a crash: a second on a slow disk. A
/// larger one would keep the users waiting; damage in it shows when its page is read.
const CHECK_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The shape of version 1, as it was released.
pub(super) const SCHEMA_1: &str = "
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

/// From version 1 to 2: peaks of use; counts by time from the index alone; and the kinds that
/// people look for are found without a walk over the many rows of sessions that come and go.
const SCHEMA_2: &str = "
CREATE TABLE peak (
  series INTEGER NOT NULL, at INTEGER NOT NULL, held INTEGER NOT NULL, seats INTEGER NOT NULL,
  PRIMARY KEY (series, at)
) WITHOUT ROWID, STRICT;
DROP INDEX history_at;
CREATE INDEX history_at ON history (at, event, series);
CREATE INDEX history_rare ON history (event) WHERE event NOT IN
  ('connection_closed', 'connection_opened', 'session_closed', 'session_opened');
";

/// From version 2 to 3: memories of keys. Their passwords are HMACs under the salt.
const SCHEMA_3: &str = "
CREATE TABLE key_memory (
  series INTEGER NOT NULL, key_no INTEGER NOT NULL, data TEXT NOT NULL, salt BLOB NOT NULL,
  read_mac BLOB, write_mac BLOB, at INTEGER NOT NULL, PRIMARY KEY (series, key_no)
) WITHOUT ROWID, STRICT;
";

/// Opens the database for writing, making it if there is none and bringing it to this version.
pub(super) fn open(path: &Path, busy: Duration) -> Result<Connection, StoreError> {
    let mut db = Connection::open(path)?;
    db.busy_timeout(busy)?;
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
    if version > 0 {
        check(&db, path)?;
    }
    migrate(&mut db, version)?;
    Ok(db)
}

fn migrate(db: &mut Connection, from: i64) -> Result<(), StoreError> {
    if from < SCHEMA_VERSION {
        let change = db.transaction()?;
        if from < 1 {
            change.execute_batch(SCHEMA_1)?;
        }
        if from < 2 {
            change.execute_batch(SCHEMA_2)?;
        }
        change.execute_batch(SCHEMA_3)?;
        change.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        change.commit()?;
        if from > 0 {
            log::info!("the database was brought from version {from} to {SCHEMA_VERSION}");
        }
    }
    Ok(())
}

/// Reads the file through if the last run did not end in good order.
fn check(db: &Connection, path: &Path) -> Result<(), StoreError> {
    if is_clean(db)? {
        return Ok(());
    }
    let bytes = std::fs::metadata(path).map_or(0, |data| data.len());
    let suspicion = suspicion(path);
    if bytes > CHECK_BYTES_MAX && !suspicion.exists() {
        log::warn!(
            "the server did not end in good order; the database has {} MiB and is not read through",
            bytes / (1024 * 1024)
        );
        return Ok(());
    }
    let found: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    // Whatever was found is dealt with; where nothing is suspected there is no such file.
    drop(std::fs::remove_file(suspicion));
    if found == "ok" { Ok(()) } else { Err(StoreError::Damaged(found)) }
}

/// A file beside the database that says that damage was met in it.
fn suspicion(database: &Path) -> PathBuf {
    database.with_extension("suspect")
}

/// Has the next start read the database through, however large it is: a server that meets the same
/// damage after every start would never grant again.
pub(super) fn suspect(database: &Path) {
    if let Err(error) = std::fs::write(suspicion(database), b"") {
        log::warn!("the database is damaged, and that cannot be noted down: {error}");
    }
}

/// Whether the last run ended in good order.
fn is_clean(db: &Connection) -> Result<bool, StoreError> {
    let mark = "SELECT value FROM mark WHERE name = 'clean'";
    Ok(db.query_row(mark, [], |row| row.get::<_, i64>(0)).optional()? == Some(1))
}

/// Name of the mark of a database that came out of a backup.
const RESTORED: &str = "restored";

/// Marks a database that came out of a backup: who was at work is not in it.
pub(crate) fn set_restored(db: &Connection) -> Result<(), rusqlite::Error> {
    db.execute(
        "INSERT INTO mark VALUES (?1, 1) ON CONFLICT (name) DO UPDATE SET value = 1",
        [RESTORED],
    )
    .map(drop)
}

/// Whether the database came out of a backup since the last start; asked once.
pub(super) fn take_restored(db: &Connection) -> Result<bool, rusqlite::Error> {
    Ok(db.execute("DELETE FROM mark WHERE name = ?1", [RESTORED])? > 0)
}

/// Notes that a run has begun, or has ended in good order.
pub(super) fn set_clean(db: &Connection, clean: bool) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO mark VALUES ('clean', ?1) ON CONFLICT (name) DO UPDATE SET value = ?1",
        [clean],
    )?;
    Ok(())
}
