//! The conf file on disk: whether it has changed, and how it is replaced.
//!
//! What stands in it is decided elsewhere.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// By what a changed file is told from an unchanged one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Stamp {
    length: Option<u64>,
    modified: Option<SystemTime>,
    inode: u64,
}

impl Stamp {
    /// That of a file; a missing one has a stamp too.
    pub fn of(path: &Path) -> Self {
        let Ok(found) = fs::metadata(path) else { return Self::default() };
        Self { length: Some(found.len()), modified: found.modified().ok(), inode: inode(&found) }
    }
}

#[cfg(unix)]
fn inode(found: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(found)
}

#[cfg(not(unix))]
const fn inode(_: &fs::Metadata) -> u64 {
    0
}

/// Replaces a file so that after a power cut the old or the new one is there, whole. Its mode and,
/// as far as the system lets us, its owner stay; a fresh one is for the folder's owner alone. False
/// when the file is no longer the one of `seen`: then nothing was replaced.
///
/// # Errors
///
/// Those of the disk; then the old file is there.
pub fn replace(path: &Path, text: &str, seen: &Stamp) -> io::Result<bool> {
    // A link stays a link: what it points to is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    fs::create_dir_all(&folder)?;
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = folder.join(name);
    let replaced = write_beside(&temporary, &target, text).and_then(|()| {
        if Stamp::of(path) != *seen {
            return Ok(false);
        }
        fs::rename(&temporary, &target)?;
        Ok(true)
    });
    if !matches!(replaced, Ok(true)) {
        // Nothing to be done when it does not go: the next change removes it.
        drop(fs::remove_file(&temporary));
    }
    #[cfg(unix)]
    if matches!(replaced, Ok(true)) {
        File::open(&folder)?.sync_all()?;
    }
    replaced
}

fn write_beside(temporary: &Path, target: &Path, text: &str) -> io::Result<()> {
    match fs::remove_file(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(temporary)?;
    match fs::metadata(target) {
        Ok(old) => {
            keep_owner(&file, &old);
            file.set_permissions(old.permissions())?;
        }
        // Made by root in the folder of the service's user, it must be that user's to read.
        Err(_) => {
            if let Some(folder) = temporary.parent().and_then(|folder| fs::metadata(folder).ok()) {
                keep_owner(&file, &folder);
            }
        }
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(unix)]
fn keep_owner(file: &File, old: &fs::Metadata) {
    use std::os::unix::fs::{MetadataExt, fchown};
    let is_same = file.metadata().is_ok_and(|own| own.uid() == old.uid() && own.gid() == old.gid());
    if !is_same && let Err(error) = fchown(file, Some(old.uid()), Some(old.gid())) {
        log::debug!("the conf file changes its owner: {error}");
    }
}

#[cfg(not(unix))]
const fn keep_owner(_: &File, _: &fs::Metadata) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn fresh_file_is_for_the_owner_of_its_folder_alone() {
        use std::os::unix::fs::{MetadataExt, chown};
        let dir = tempfile::tempdir().unwrap();
        // Only root may give a folder away; for others it stays their own.
        drop(chown(dir.path(), Some(65_534), Some(65_534)));
        let path = dir.path().join("licenceserver.conf");
        assert!(replace(&path, "text", &Stamp::of(&path)).unwrap());
        let (folder, file) = (fs::metadata(dir.path()).unwrap(), fs::metadata(&path).unwrap());
        assert_eq!((file.uid(), file.gid()), (folder.uid(), folder.gid()));
        assert_eq!(file.mode() & 0o777, 0o600);
    }

    #[test]
    fn file_that_somebody_else_wrote_meanwhile_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folder").join("licenceserver.conf");
        let none = Stamp::of(&path);
        assert!(replace(&path, "first", &none).unwrap());
        assert!(!replace(&path, "second", &none).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
        let seen = Stamp::of(&path);
        fs::write(&path, "theirs").unwrap();
        assert!(!replace(&path, "second", &seen).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
        assert!(replace(&path, "second", &Stamp::of(&path)).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "second");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn left_over_of_an_interrupted_write_is_no_hindrance() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("licenceserver.conf");
        fs::write(dir.path().join("licenceserver.conf.tmp"), "torso").unwrap();
        assert!(replace(&path, "whole", &Stamp::of(&path)).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
    }
}
