//! Where granted seats survive: the journal and its writer.
//!
//! A [`Journal`] keeps what the core's records add up to. The [`writer::Writer`] puts the records
//! of many turns into one transaction and only then lets their replies go. What a record means is
//! the core's business; nothing here knows HTTP.

use licence_core::journal::{Record, Snapshot};

pub mod lock;
pub mod memory;
pub mod sqlite;
pub mod writer;

/// Why the journal could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Something in it cannot be read back.
    #[error("the database holds what cannot be read: {0}")]
    Damaged(String),
    /// Written by a later program.
    #[error("the database has version {found}, this program knows up to {known}")]
    Newer {
        /// Version in the file.
        found: i64,
        /// Newest version that this program knows.
        known: i64,
    },
    /// SQLite refused.
    #[error("the database cannot be used")]
    Sqlite(#[from] rusqlite::Error),
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
}

#[cfg(test)]
mod tests;
