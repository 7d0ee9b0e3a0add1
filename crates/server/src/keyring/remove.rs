//! Taking a key out: its file stays in the folder under a name that is not read.
//!
//! Nothing is deleted, so a removal by mistake is undone by renaming the file back. Whether the key
//! may go is decided elsewhere.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use licence_core::key::KeyNo;
use licence_core::protocol::LicenceView;
use licence_core::time::Utc;

use super::view::licence_view;
use super::{InstallError, Keyring};

/// Files of one name and second that are kept apart by a number. A person removes and installs a
/// key some times a minute at most.
const SAME_SECOND_MAX: u32 = 100;

impl Keyring {
    /// Renames the files of a key and forgets it; what it was, with the name that its file has.
    /// Nothing when there is no such key. The renaming is on disk when this returns.
    ///
    /// # Errors
    ///
    /// [`InstallError::Write`] when a file cannot be renamed; then the key stays.
    pub fn remove(&mut self, key_no: KeyNo, utc: Utc) -> Result<Option<LicenceView>, InstallError> {
        let Some(installed) = self.installed.get(&key_no) else {
            return Ok(None);
        };
        // Others of the same key first: left behind, one would bring the key back at the next
        // start.
        for second in self.unusable.iter().filter(|other| other.second_of == Some(key_no)) {
            put_aside(&second.file, utc)?;
        }
        let file = put_aside(&installed.file, utc)?;
        self.unusable.retain(|other| other.second_of != Some(key_no));
        let Some(mut installed) = self.installed.remove(&key_no) else {
            return Ok(None);
        };
        installed.file = file;
        let mut view = licence_view(&installed, None, utc);
        view.open_error = Some("removed".to_owned());
        view.open_error_russian = Some("Удалён".to_owned());
        Ok(Some(view))
    }
}

/// Gives a licence file a name that is not read; the name.
fn put_aside(file: &Path, utc: Utc) -> Result<PathBuf, InstallError> {
    let failed = |source| InstallError::Write { path: file.to_owned(), source };
    let target = free_name(file, utc).map_err(failed)?;
    match fs::rename(file, &target) {
        Ok(()) => {}
        // Somebody has taken it away by hand: it is where it should be.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(target),
        Err(error) => return Err(failed(error)),
    }
    #[cfg(unix)]
    if let Some(folder) = file.parent() {
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    }
    Ok(target)
}

fn free_name(file: &Path, utc: Utc) -> io::Result<PathBuf> {
    for number in 0..SAME_SECOND_MAX {
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(format!(".removed-{}", stamp(utc)));
        if number > 0 {
            name.push(format!("-{number}"));
        }
        let target = file.with_file_name(name);
        if target.symlink_metadata().is_err() {
            return Ok(target);
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "too many removed files of this second"))
}

/// `20261121-120000` of a moment, in UTC.
pub(crate) fn stamp(utc: Utc) -> String {
    let text = utc.to_string();
    let (day, time) = text.split_once('T').unwrap_or_default();
    let digits = |text: &str| -> String { text.chars().filter(char::is_ascii_digit).collect() };
    format!("{}-{}", digits(day), digits(time.split('.').next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moment_in_a_file_name_has_digits_and_a_dash() {
        assert_eq!(stamp("2026-11-21T12:03:04.567Z".parse().unwrap()), "20261121-120304");
    }

    #[test]
    fn file_put_aside_keeps_its_bytes_and_never_replaces_another() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("672B.5.licence");
        let utc = "2026-11-21T12:03:04.567Z".parse().unwrap();
        for (bytes, name) in [
            ("one", "672B.5.licence.removed-20261121-120304"),
            ("two", "672B.5.licence.removed-20261121-120304-1"),
        ] {
            fs::write(&file, bytes).unwrap();
            let target = put_aside(&file, utc).unwrap();
            assert_eq!(target, folder.path().join(name));
            assert_eq!(fs::read_to_string(target).unwrap(), bytes);
            assert!(!file.exists());
        }
        assert!(put_aside(&file, utc).is_ok(), "gone already");
    }
}
