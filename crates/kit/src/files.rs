//! Files that must not be lost, half written or read by others.
//!
//! A file made here appears whole or not at all, replaces another only by [`replace`], and survives
//! a power cut once the call has returned. What stands in it is not looked at.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use licence_core::seal::hex_upper;

use crate::random;

/// Most bytes of a file's name on Linux; Windows takes as many characters.
const NAME_BYTES_MAX: usize = 255;

/// Who may read a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Readers {
    /// Everybody whom the folder lets in.
    Everybody,
    /// Its owner only (mode 0600). On Windows the folder's permissions decide.
    Owner,
}

/// Why a file could not be read or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// There is one already, and it stays.
    #[error("{} exists already and is not replaced", .0.display())]
    Exists(PathBuf),
    /// The system refused.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No random bytes for the name of the temporary file.
    #[error(transparent)]
    Random(#[from] random::RandomError),
    /// A name that some system takes for something else, see [`check_names`].
    #[error("{0:?} cannot be the name of a file on every system")]
    Name(String),
    /// Two names that are one where case does not count.
    #[error("{0:?} and {1:?} are one file where case does not count")]
    NameTwice(String, String),
    /// Larger than the caller reads.
    #[error("{} is larger than {limit} bytes", .path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// Most bytes that are read.
        limit: usize,
    },
}

fn at(path: &Path) -> impl Fn(io::Error) -> FileError {
    |source| FileError::Io { path: path.to_owned(), source }
}

/// The bytes of a file of at most `limit` bytes.
///
/// # Errors
///
/// [`FileError::TooLarge`] without reading further, or what the system said.
pub fn read(path: &Path, limit: usize) -> Result<Vec<u8>, FileError> {
    let file = File::open(path).map_err(at(path))?;
    // One allocation of the full size, so that growing leaves no copies of a secret behind.
    let mut bytes = Vec::with_capacity(limit + 1);
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(at(path))?;
    if bytes.len() > limit {
        return Err(FileError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes)
}

/// Whether files of these relative names (`/` between the parts), which come out of somebody
/// else's file, stay within their folder and are files on Windows and Linux alike: no part leads
/// upwards, is hidden, names a device of Windows or has a sign that Windows gives a meaning, and no
/// two names differ in case only.
///
/// # Errors
///
/// [`FileError::Name`] and [`FileError::NameTwice`].
pub fn check_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<(), FileError> {
    let mut known: BTreeMap<String, &str> = BTreeMap::new();
    for name in names {
        if !name.split('/').all(is_portable) {
            return Err(FileError::Name(name.to_owned()));
        }
        if let Some(other) = known.insert(name.to_lowercase(), name) {
            return Err(FileError::NameTwice(other.to_owned(), name.to_owned()));
        }
    }
    Ok(())
}

/// Whether a text is the name of a file everywhere.
fn is_portable(part: &str) -> bool {
    // Windows looks for devices in front of the first dot, whatever the case and spaces behind.
    let stem = part.split('.').next().unwrap_or_default().trim_end().to_lowercase();
    let numbered = |word: &str| {
        let number = stem.strip_prefix(word)?;
        Some(matches!(
            number,
            "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³"
        ))
    };
    let is_device = matches!(stem.as_str(), "con" | "prn" | "aux" | "nul" | "conin$" | "conout$")
        || numbered("com") == Some(true)
        || numbered("lpt") == Some(true);
    let is_sign =
        |c: char| c.is_control() || matches!(c, '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|');
    !part.is_empty()
        && part.len() <= NAME_BYTES_MAX
        && !is_device
        && !part.starts_with(['.', ' '])
        && !part.ends_with(['.', ' '])
        && !part.contains(is_sign)
}

/// Makes a folder, and those above it, for its owner only (mode 0700) where it is missing.
///
/// # Errors
///
/// What the system said.
pub fn make_private_folder(path: &Path) -> Result<(), FileError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(path).map_err(at(path))
}

/// Makes a file with these bytes: written to a temporary neighbour, synced, then given its name,
/// and the folder synced.
///
/// # Errors
///
/// [`FileError::Exists`] when there is one of this name, which is left as it is.
pub fn create(path: &Path, bytes: &[u8], readers: Readers) -> Result<(), FileError> {
    create_from(path, &[bytes], readers)
}

/// [`create`] for a file in several parts.
///
/// # Errors
///
/// As [`create`].
pub fn create_from(path: &Path, parts: &[&[u8]], readers: Readers) -> Result<(), FileError> {
    make(path, parts, readers, give_name)
}

/// Makes a file as [`create`] does, or puts it in the place of one that exists: who reads it meets
/// the old or the new one, never half of either.
///
/// # Errors
///
/// What the system said.
pub fn replace(path: &Path, parts: &[&[u8]], readers: Readers) -> Result<(), FileError> {
    make(path, parts, readers, |temporary, path| fs::rename(temporary, path).map_err(at(path)))
}

fn make(
    path: &Path,
    parts: &[&[u8]],
    readers: Readers,
    give_name: fn(&Path, &Path) -> Result<(), FileError>,
) -> Result<(), FileError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let temporary = folder.join(format!(".{}.tmp", hex_upper(&random::id_bytes()?)));
    let made = write_synced(&temporary, parts, readers)
        .map_err(at(&temporary))
        .and_then(|()| give_name(&temporary, path));
    // Whatever happened, the temporary name must go; when it was renamed it is gone already.
    let removed = fs::remove_file(&temporary);
    made?;
    match removed {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(FileError::Io { path: temporary, source });
        }
        _ => {}
    }
    sync_folder(folder).map_err(at(folder))
}

fn write_synced(path: &Path, parts: &[&[u8]], readers: Readers) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(match readers {
            Readers::Everybody => 0o644,
            Readers::Owner => 0o600,
        });
    }
    #[cfg(not(unix))]
    let _ = readers;
    let mut file = options.open(path)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()
}

/// A hard link, unlike a rename, fails when the name is taken: two programs that make the same
/// file at once cannot overwrite each other.
fn give_name(temporary: &Path, path: &Path) -> Result<(), FileError> {
    match fs::hard_link(temporary, path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(FileError::Exists(path.to_owned()))
        }
        // File systems without hard links (FAT on a stick): the check and the rename are two steps.
        Err(_) if path.symlink_metadata().is_ok() => Err(FileError::Exists(path.to_owned())),
        Err(_) => fs::rename(temporary, path).map_err(at(path)),
    }
}

/// Makes the names in a folder durable. Windows does so by itself and opens no folders as files.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_appears_whole_with_its_mode_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("672B.cryptkey");
        create(&path, b"secret", Readers::Owner).unwrap();
        assert_eq!(read(&path, 6).unwrap(), b"secret");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn existing_file_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("672B.series");
        create(&path, b"first", Readers::Everybody).unwrap();
        let again = create(&path, b"second", Readers::Everybody);
        assert!(matches!(again, Err(FileError::Exists(_))));
        assert_eq!(read(&path, 100).unwrap(), b"first");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn file_is_replaced_whole_when_it_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("672B.datafile");
        replace(&path, &[b"first"], Readers::Everybody).unwrap();
        replace(&path, &[b"sec", b"", b"ond"], Readers::Everybody).unwrap();
        assert_eq!(read(&path, 100).unwrap(), b"second");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn names_that_are_not_files_on_every_system_are_refused() {
        let check = |names: &[&str], wanted: bool| {
            assert_eq!(check_names(names.iter().copied()).is_ok(), wanted, "{names:?}");
        };
        check(&["Цены.epf", "Ext/ObjectModule.bsl", "root", "Console", "com10", "nulls.txt"], true);
        for name in
            ["", "..", "../x", "a/../b", "/a", "a//b", ".hidden", "a/.b", "a\\b", "c:x", "a "]
        {
            check(&[name], false);
        }
        for name in ["con", "NUL.txt", "Templates/Aux.bin", "com1", "LPT9.epf", "nul .txt", "COM²"]
        {
            check(&[name], false);
        }
        for name in ["a*", "a?", "a\"b", "a|b", "<a>", "a.", "a\nb"] {
            check(&[name], false);
        }
        check(&[&"я".repeat(128)], false);
        check(&["Templates/Схема.txt", "Templates/схема.txt"], false);
        check(&["Templates/Схема.txt", "Templates/Схема.bin"], true);
    }

    #[test]
    fn larger_file_than_asked_for_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long");
        fs::write(&path, b"12345").unwrap();
        assert!(matches!(read(&path, 4), Err(FileError::TooLarge { limit: 4, .. })));
    }
}
