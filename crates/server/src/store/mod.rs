//! Where granted seats survive: the journal and its writer.
//!
//! A [`Journal`] keeps what the core's records add up to. The [`writer::Writer`] puts the records
//! of many turns into one transaction and only then lets their replies go. What a record means is
//! the core's business; nothing here knows HTTP.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use licence_core::journal::{Record, Snapshot};
use licence_core::time::Utc;
use rusqlite::ErrorCode;

pub(crate) use self::schema::set_restored;
use crate::history::Event;

pub mod lock;
pub(crate) mod marks;
pub mod memory;
mod schema;
pub mod sqlite;
pub mod writer;

pub(crate) use self::schema::SCHEMA_VERSION;

/// Why the journal could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Something in it cannot be read back: the file is cut short, overwritten or no database.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// The disk has no room for it.
    #[error("the disk is full, the database cannot grow")]
    Full(#[source] rusqlite::Error),
    /// Another program has it and does not let go.
    #[error("another program keeps the database locked")]
    Locked(#[source] rusqlite::Error),
    /// Written by a later program.
    #[error("the database has version {found}, this program knows up to {known}")]
    Newer {
        /// Version in the file.
        found: i64,
        /// Newest version that this program knows.
        known: i64,
    },
    /// The file or its folder cannot be written or opened.
    #[error("the database or its folder cannot be opened for writing")]
    NotWritable(#[source] rusqlite::Error),
    /// A damaged one could not be put aside.
    #[error("the damaged database cannot be put aside")]
    Quarantine(#[source] io::Error),
    /// SQLite refused otherwise.
    #[error("the database cannot be used")]
    Sqlite(#[source] rusqlite::Error),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged(error.to_string())
            }
            Some(ErrorCode::DiskFull) => Self::Full(error),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked(error),
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
                Self::NotWritable(error)
            }
            _ => Self::Sqlite(error),
        }
    }
}

/// How long history is kept; may change while the server runs. Clones are the same setting.
#[derive(Clone, Debug)]
pub struct Retention(Arc<AtomicU32>);

impl Retention {
    /// Days that are kept until something else is set: a year, and a month to look back on it.
    pub const DAYS: u32 = 400;

    /// The days that are kept.
    pub fn days(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Keeps so many days; what is older goes within hours.
    pub fn set_days(&self, days: u32) {
        self.0.store(days.max(1), Ordering::Relaxed);
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self(Arc::new(AtomicU32::new(Self::DAYS)))
    }
}

/// Puts a database that cannot be read aside, with what belongs to it; returns its new name,
/// `….damaged-YYYYMMDD-HHMMSS`. Nobody may have it open.
///
/// # Errors
///
/// When a file cannot be renamed; then those renamed before it stay so.
pub fn quarantine(path: &Path, now: Utc) -> io::Result<PathBuf> {
    let stamp: String = now.to_string().chars().filter(char::is_ascii_digit).take(14).collect();
    let (day, time) = stamp.split_at(stamp.len().min(8));
    let mut counted = 0;
    let aside = loop {
        // A second one within the same second must not take the first one's name.
        let count = if counted == 0 { String::new() } else { format!("-{counted}") };
        let aside = with_suffix(path, &format!(".damaged-{day}-{time}{count}"));
        if !aside.try_exists()? {
            break aside;
        }
        counted += 1;
    };
    // The log first: without it the database alone would be opened as if it were whole.
    for part in ["-wal", "-shm", ""] {
        match std::fs::rename(with_suffix(path, part), with_suffix(&aside, part)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            outcome => outcome?,
        }
    }
    Ok(aside)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Keeps records so that they survive.
pub trait Journal: Send {
    /// What the records so far add up to.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    fn load(&mut self) -> Result<Snapshot, StoreError>;

    /// Adds records, all or none; on return they are on disk.
    ///
    /// # Errors
    ///
    /// See [`StoreError`]; nothing was added.
    fn commit(&mut self, records: &[Record]) -> Result<(), StoreError>;

    /// The events that were committed since they were last taken or skipped, the oldest first.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    fn take_events(&mut self) -> Result<Vec<Event>, StoreError> {
        Ok(Vec::new())
    }

    /// Leaves out the events that were committed so far: nobody wants to see them.
    fn skip_events(&mut self) {}
}

#[cfg(test)]
mod file_tests;
#[cfg(test)]
mod tests;
