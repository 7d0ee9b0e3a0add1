//! Backup and restore of the data folder while the server runs.
//!
//! [`archive`] writes and checks one file that holds everything a server is; [`pending`] puts a
//! checked one in the place of the present data at the next start, so that a crash in the middle is
//! finished or undone. Who may ask for either is the gate's business.
//!
//! An archive holds the identity, so whoever has it can be this server.

pub mod archive;
pub mod command;
pub mod members;
pub mod pending;

use std::io;
use std::path::PathBuf;

/// Why a backup could not be made or restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The archive is not one of ours, or not whole.
    #[error("{member}: {reason}")]
    Archive {
        /// Which part of it; `archive` for the whole.
        member: String,
        /// What is wrong.
        reason: String,
    },
    /// The database could not be copied.
    #[error("copying the database")]
    Database(#[from] rusqlite::Error),
    /// A file could not be read or written.
    #[error("{path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server that has the data is running.
    #[error("the data is in use; restore through the running server's console or REST API")]
    InUse,
    /// The series file lies outside the settings folder, so no archive could hold it.
    #[error("[Common] SeriesFile={0} is not the name of a file in the settings folder")]
    SeriesFile(String),
    /// Too little room on the disk.
    #[error("{needed_mb} MB are needed on the disk, {free_mb} MB are free")]
    Room {
        /// MB that are needed.
        needed_mb: u64,
        /// MB that are free.
        free_mb: u64,
    },
}

impl BackupError {
    pub(crate) fn io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }

    pub(crate) fn archive(member: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Archive { member: member.into(), reason: reason.into() }
    }
}
