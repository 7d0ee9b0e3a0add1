//! Why the server did not start: for the program's last words, and for the decision whether waiting
//! helps.

use std::io::{self, Write};
use std::net::SocketAddr;

use licence_core::causes::with_causes;
use licence_core::language::Language;

use crate::app::OpenError;
use crate::backup::BackupError;
use crate::config::ConfigError;
use crate::driver::DriverError;
use crate::identity::IdentityError;

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
    /// Whether waiting is likely to help: another process has the database for a moment.
    pub(super) fn is_passing(&self) -> bool {
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

    /// The innermost cause: it names no file, so anybody may read it.
    pub(super) fn root(&self) -> String {
        let mut cause: &dyn std::error::Error = self;
        while let Some(next) = cause.source() {
            cause = next;
        }
        cause.to_string()
    }
}

/// Says on standard error why the server ended, with all causes.
pub fn report(error: &RunError) {
    let text = format!("licenceserver: {}", with_causes(error));
    log::error!("{text}");
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
