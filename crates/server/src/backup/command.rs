//! `licenceserver backup` and `licenceserver restore`: the same archives from the command line.
//!
//! A backup may be made beside a running server; a restore takes the data, so it refuses while a
//! server has them.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use licence_core::causes::with_causes;

use super::archive::{self, Source};
use super::{BackupError, pending};
use crate::cli::ArchiveOptions;
use crate::clock;
use crate::config::Config;
use crate::paths::Paths;
use crate::store::lock::DataLock;

/// Writes an archive.
pub fn backup(options: &ArchiveOptions) -> ExitCode {
    tell(make(options).map(|()| format!("written: {}", options.file.display())))
}

/// Puts an archive in the place of the data.
pub fn restore(options: &ArchiveOptions) -> ExitCode {
    tell(take(options).map(|aside| {
        let before = aside.map(|aside| format!("; before: {}", aside.display()));
        format!("restored: {}{}", options.base.display(), before.unwrap_or_default())
    }))
}

fn make(options: &ArchiveOptions) -> Result<(), BackupError> {
    let paths = Paths::new(&options.base);
    let config = Config::load(&paths.conf())
        .map_err(|error| BackupError::io(paths.conf(), io::Error::other(with_causes(&error))))?;
    let source = Source {
        paths,
        series_file: config.series_file,
        computer_name: gethostname::gethostname().to_string_lossy().into_owned(),
        at: clock::utc(),
    };
    let failed = |error| BackupError::io(&options.file, error);
    let file = archive::create_private(&options.file).map_err(failed)?;
    let written = archive::write(&source, &file).and_then(|()| file.sync_all().map_err(failed));
    if written.is_err() {
        // A torso must not be taken for a backup.
        drop(std::fs::remove_file(&options.file));
    }
    written
}

fn take(options: &ArchiveOptions) -> Result<Option<PathBuf>, BackupError> {
    let paths = Paths::new(&options.base);
    std::fs::create_dir_all(paths.settings())
        .map_err(|error| BackupError::io(paths.settings(), error))?;
    // Refused before anything is unpacked; taken again for the moves themselves.
    DataLock::take(&paths.database()).map(drop).map_err(|_| BackupError::InUse)?;
    pending::stage(&paths, &options.file)?;
    let aside = pending::apply(&paths, clock::utc())?;
    pending::confirm(&paths)?;
    Ok(aside)
}

fn tell(outcome: Result<String, BackupError>) -> ExitCode {
    // Standard output or error may be closed; the exit code tells all the same.
    match outcome {
        Ok(text) => {
            drop(writeln!(io::stdout(), "{text}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            drop(writeln!(io::stderr(), "licenceserver: {}", with_causes(&error)));
            ExitCode::FAILURE
        }
    }
}
