//! Files that are whole or not there, also after a power cut.
//!
//! The one place that replaces files: written beside, on the disk, then given the name. What stands
//! in them is decided elsewhere.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Who may read a file that was not there before. One that was there keeps its mode.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Readers {
    /// Whoever the system lets, by the process's umask.
    Anybody,
    /// The server's user alone.
    Owner,
}

/// Replaces a file, or makes it. Its mode and, as far as the system lets us, its owner stay; a link
/// stays a link. Blocks on the disk.
///
/// # Errors
///
/// Those of the disk; then the old file is there, unless only its folder could not be synced.
pub fn replace(path: &Path, bytes: &[u8], readers: Readers) -> io::Result<()> {
    replace_if(path, bytes, readers, || true).map(drop)
}

/// The same if a condition still holds when everything but the new name is done. False when it does
/// not: then nothing was replaced.
///
/// # Errors
///
/// As [`replace`].
pub fn replace_if(
    path: &Path,
    bytes: &[u8],
    readers: Readers,
    is_wanted: impl FnOnce() -> bool,
) -> io::Result<bool> {
    // A link stays a link: what it points to is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = folder_of(&target);
    fs::create_dir_all(&folder)?;
    let temporary = beside(&target, ".tmp");
    let replaced = write_beside(&temporary, &target, bytes, readers).and_then(|()| {
        if !is_wanted() {
            return Ok(false);
        }
        fs::rename(&temporary, &target)?;
        Ok(true)
    });
    if !matches!(replaced, Ok(true)) {
        // Nothing to be done when it does not go: the next change removes it.
        drop(fs::remove_file(&temporary));
        return replaced;
    }
    sync_folder(&folder)?;
    Ok(true)
}

/// Makes a file for the server's user alone, never over another one. Blocks on the disk.
///
/// # Errors
///
/// Those of the disk; [`io::ErrorKind::AlreadyExists`] when there is one.
pub fn make(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    fs::create_dir_all(&folder)?;
    // Two processes that start at the same moment must not write the same one.
    let part = beside(path, &format!(".part{}", std::process::id()));
    let made = write_beside(&part, path, bytes, Readers::Owner)
        .and_then(|()| name_by_link(&part, path, fs::hard_link(&part, path)));
    let removed = fs::remove_file(&part);
    made?;
    match removed {
        // It was given the name itself.
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    sync_folder(&folder)
}

/// Gives a file its name where that could not be done by a link, which some file systems (FAT, some
/// network folders) do not have: an empty file takes the name, then the whole one takes its place.
fn name_by_link(part: &Path, path: &Path, linked: io::Result<()>) -> io::Result<()> {
    match linked {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
        Err(error) => log::debug!("{}: no hard links here: {error}", path.display()),
    }
    drop(OpenOptions::new().write(true).create_new(true).open(path)?);
    fs::rename(part, path).inspect_err(|_| {
        // An empty one would be taken for a damaged one at the next start.
        drop(fs::remove_file(path));
    })
}

/// Syncs a folder, so that the names in it survive a power cut.
///
/// # Errors
///
/// Those of the disk.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    // Windows has no handle of a folder to sync; its renames are journalled.
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_else(|| OsStr::new("file")).to_owned();
    name.push(ending);
    path.with_file_name(name)
}

fn write_beside(temporary: &Path, target: &Path, bytes: &[u8], readers: Readers) -> io::Result<()> {
    // What a write that broke off has left.
    match fs::remove_file(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if readers == Readers::Owner {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    #[cfg(not(unix))]
    let _by_the_folder = readers;
    let mut file = options.open(temporary)?;
    match fs::metadata(target) {
        Ok(old) => {
            keep_owner(&file, &old);
            file.set_permissions(old.permissions())?;
        }
        // Made by root in the folder of the service's user, it must be that user's to read.
        Err(_) => {
            if let Ok(folder) = fs::metadata(folder_of(temporary)) {
                keep_owner(&file, &folder);
            }
        }
    }
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(unix)]
fn keep_owner(file: &File, old: &fs::Metadata) {
    use std::os::unix::fs::{MetadataExt, fchown};
    let is_same = file.metadata().is_ok_and(|own| own.uid() == old.uid() && own.gid() == old.gid());
    if !is_same && let Err(error) = fchown(file, Some(old.uid()), Some(old.gid())) {
        log::debug!("a replaced file changes its owner: {error}");
    }
}

#[cfg(not(unix))]
const fn keep_owner(_: &File, _: &fs::Metadata) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folder").join("file");
        replace(&path, b"first", Readers::Owner).unwrap();
        // The torso of a write that broke off.
        fs::write(path.with_file_name("file.tmp"), "torso").unwrap();
        replace(&path, b"second", Readers::Anybody).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert!(!replace_if(&path, b"third", Readers::Owner, || false).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn mode_and_link_stay_and_a_fresh_secret_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("file"), dir.path().join("link"));
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        replace(&path, b"first", Readers::Owner).unwrap();
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        replace(&link, b"second", Readers::Owner).unwrap();
        assert_eq!((mode(), fs::read(&path).unwrap()), (0o640, b"second".to_vec()));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn file_that_is_there_is_never_made_again_with_or_without_links() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        make(&path, b"first").unwrap();
        let error = make(&path, b"second").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        let part = dir.path().join("part");
        let no_links = || Err(io::ErrorKind::Unsupported.into());
        fs::write(&part, "third").unwrap();
        let error = name_by_link(&part, &path, no_links()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        name_by_link(&part, &dir.path().join("other"), no_links()).unwrap();
        assert_eq!(fs::read(dir.path().join("other")).unwrap(), b"third");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
