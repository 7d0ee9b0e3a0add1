//! The conf file on disk: whether it has changed, and how it is replaced.
//!
//! What stands in it is decided elsewhere.

use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use crate::atomic_file::{self, Readers};

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
    atomic_file::replace_if(path, text.as_bytes(), Readers::Owner, || Stamp::of(path) == *seen)
}

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
