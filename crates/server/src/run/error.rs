//! Why the server did not start: for the program's last words, and for the decision whether waiting
//! helps.

use std::io::{self, Write};
use std::net::SocketAddr;

use licence_core::causes::with_causes;
use licence_core::language::Language;

use crate::app::OpenError;
use crate::backup::BackupError;
use crate::closed::Reason;
use crate::config::ConfigError;
use crate::driver::DriverError;
use crate::eventlog::{self, Event};
use crate::identity::IdentityError;
use crate::keyring::KeyringError;
use crate::store::StoreError;
use crate::store::lock::LockError;

/// Why the server did not start or did not stop in good order.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A setting.
    #[error("the settings cannot be used")]
    Config(#[from] ConfigError),
    /// The identity.
    #[error("the identity cannot be used")]
    Identity(#[from] IdentityError),
    /// The journal failed while the server ran.
    #[error("the journal failed; what was granted is on disk, nothing more is granted")]
    Journal,
    /// The address or port.
    #[error("cannot listen on {address}{holder}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Who has the port, as far as the system shows it; else empty.
        holder: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The journal takes nothing after a failure.
    #[error("the database cannot be written yet")]
    Probe(#[source] DriverError),
    /// Keys, database or certificates.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A restore was begun and cannot be finished; its files are partly moved.
    #[error("the restore is not finished")]
    Restore(#[source] BackupError),
    /// The runtime or its signals.
    #[error("the runtime cannot start")]
    Runtime(#[source] io::Error),
}

impl RunError {
    /// Whether waiting is likely to help: another process has the database for a moment, or the
    /// identity is locked.
    pub(super) fn is_passing(&self) -> bool {
        if matches!(self, Self::Identity(IdentityError::Locked(_))) {
            // The former hardware, the secret or the TPM may come back.
            return true;
        }
        let mut cause: Option<&dyn std::error::Error> = Some(self);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<rusqlite::Error>() {
                return matches!(
                    error.sqlite_error_code(),
                    Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
                );
            }
            cause = error.source();
        }
        false
    }

    /// What anybody may know of it: no file is named.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Config(_) => return Reason::Settings,
            Self::Identity(IdentityError::Locked(locked)) => {
                return Reason::IdentityLocked(locked.clone());
            }
            Self::Identity(_) => return Reason::Identity,
            Self::Journal => return Reason::Journal,
            Self::Listen { .. } => return Reason::Port,
            Self::Probe(_) => return Reason::Unproven,
            Self::Open(_) | Self::Restore(_) | Self::Runtime(_) => {}
        }
        let mut cause: &dyn std::error::Error = self;
        loop {
            if let Some(error) = cause.downcast_ref::<StoreError>() {
                return of_store(error);
            }
            if cause.is::<KeyringError>() {
                return Reason::Keys;
            }
            if let Some(LockError::InUse { .. }) = cause.downcast_ref() {
                return Reason::SecondServer;
            }
            let Some(next) = cause.source() else { break };
            cause = next;
        }
        // The innermost cause is the system's own words.
        Reason::System(cause.to_string())
    }
}

fn of_store(error: &StoreError) -> Reason {
    match error {
        StoreError::Damaged(_) | StoreError::Quarantine(_) => Reason::Damaged,
        StoreError::Full(_) => Reason::Full,
        StoreError::Locked(_) => Reason::Locked,
        StoreError::Newer { found, known } => Reason::Newer { found: *found, known: *known },
        StoreError::NotWritable(_) => Reason::NotWritable,
        StoreError::Sqlite(error) => Reason::System(error.to_string()),
    }
}

/// Says on standard error why the server ended, with all causes.
pub fn report(error: &RunError) {
    let mut text = format!("licenceserver: {}", with_causes(error));
    if let RunError::Config(error) = error {
        let reason = with_causes(error);
        text = format!(
            "licenceserver: the settings were not accepted; correct them and start again: {reason}"
        );
    }
    log::error!("{text}");
    eventlog::tell(Event::CannotRun, &text);
    if let RunError::Config(error) = error {
        // Whoever edits the file by hand reads this, and which language they read is in the file.
        let reason = error.text(Language::Russian);
        log::error!(
            "licenceserver: настройки не приняты; исправьте их и запустите снова: {reason}"
        );
    }
    // The log may be unable to say it: the folder may be what is missing.
    if log::max_level() == log::LevelFilter::Off {
        let _stderr_may_be_closed = writeln!(io::stderr(), "{text}");
    }
}
