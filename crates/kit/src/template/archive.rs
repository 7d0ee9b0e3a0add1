//! The zip of a template: files in its root, read with limits and written reproducibly.
//!
//! The same files give the same bytes: no dates, no owner, one order. Nothing is unpacked to disk.

use std::io::{Cursor, Read as _, Write as _};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, System, ZipArchive, ZipWriter};

/// Largest template that is read. One of all systems has some 20 MiB.
pub const ARCHIVE_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Most files of a template: a library for each system and processor, the manifest, some notes.
const FILES_MAX: usize = 64;

/// Most bytes of all files together, unpacked.
const UNPACKED_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Readable by everybody, as files of a template are.
const MODE: u32 = 0o644;

/// Why an archive was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// Not in the root, or a name that no system takes.
    #[error("{0:?}: a template has files in its root only")]
    Name(String),
    /// More files or bytes than a template has.
    #[error("larger than a template is")]
    TooLarge,
    /// One name twice.
    #[error("{0} is there twice")]
    Twice(String),
    /// Not a zip, or damaged.
    #[error("the archive is damaged: {0}")]
    Zip(String),
}

impl From<zip::result::ZipError> for ArchiveError {
    fn from(error: zip::result::ZipError) -> Self {
        Self::Zip(error.to_string())
    }
}

impl From<std::io::Error> for ArchiveError {
    fn from(error: std::io::Error) -> Self {
        Self::Zip(error.to_string())
    }
}

/// One file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Its name, without folders.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// Reads all files of an archive, in its order.
///
/// # Errors
///
/// See [`ArchiveError`].
pub fn read(bytes: &[u8]) -> Result<Vec<Entry>, ArchiveError> {
    let mut archive = ZipArchive::new(Cursor::new(bytes))?;
    if archive.len() > FILES_MAX {
        return Err(ArchiveError::TooLarge);
    }
    let mut entries: Vec<Entry> = Vec::new();
    let mut left = UNPACKED_BYTES_MAX;
    for index in 0..archive.len() {
        let file = archive.by_index(index)?;
        let name = file.name()?.into_owned();
        if !is_root_name(&name) || file.is_symlink() {
            return Err(ArchiveError::Name(name));
        }
        if entries.iter().any(|entry| entry.name == name) {
            return Err(ArchiveError::Twice(name));
        }
        let mut content = Vec::new();
        // What is read counts, not what the header promises.
        let count = file.take(left.saturating_add(1)).read_to_end(&mut content)?;
        left = left.checked_sub(count as u64).ok_or(ArchiveError::TooLarge)?;
        entries.push(Entry { name, bytes: content });
    }
    Ok(entries)
}

fn is_root_name(name: &str) -> bool {
    !name.is_empty()
        && !name.contains(['/', '\\', ':'])
        && !name.chars().any(char::is_control)
        && name != "."
        && name != ".."
}

/// Writes an archive.
///
/// # Errors
///
/// When a name is not one of a file, or stands there twice.
pub fn write(entries: &[Entry]) -> Result<Vec<u8>, ArchiveError> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(9))
        .last_modified_time(DateTime::DEFAULT)
        .system(System::Unix)
        .unix_permissions(MODE);
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (index, entry) in entries.iter().enumerate() {
        if !is_root_name(&entry.name) {
            return Err(ArchiveError::Name(entry.name.clone()));
        }
        if entries.iter().take(index).any(|other| other.name == entry.name) {
            return Err(ArchiveError::Twice(entry.name.clone()));
        }
        writer.start_file(entry.name.as_str(), options)?;
        writer.write_all(&entry.bytes)?;
    }
    Ok(writer.finish()?.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, bytes: &[u8]) -> Entry {
        Entry { name: name.to_owned(), bytes: bytes.to_owned() }
    }

    #[test]
    fn written_archive_is_read_back_and_is_the_same_each_time() {
        let entries = [entry("MANIFEST.XML", b"<bundle/>"), entry("a.so", &[7; 100_000])];
        let bytes = write(&entries).unwrap();
        assert_eq!(read(&bytes).unwrap(), entries);
        assert_eq!(write(&entries).unwrap(), bytes);
        assert!(bytes.len() < 1000, "packed");
    }

    #[test]
    fn names_outside_the_root_and_doubles_are_refused() {
        for name in ["../a", "a/b", r"a\b", "/a", "C:a", "", "..", "a\n"] {
            let written = write(&[entry(name, b"")]);
            assert!(matches!(written, Err(ArchiveError::Name(_))), "{name:?}");
        }
        let twice = write(&[entry("a", b""), entry("a", b"")]);
        assert!(matches!(twice, Err(ArchiveError::Twice(_))));
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        writer.start_file("folder/a.so", SimpleFileOptions::default()).unwrap();
        let foreign = writer.finish().unwrap().into_inner();
        assert!(matches!(read(&foreign), Err(ArchiveError::Name(_))));
    }

    #[test]
    fn damaged_archive_is_an_error() {
        let bytes = write(&[entry("a", &[1, 2, 3, 4, 5, 6, 7, 8])]).unwrap();
        assert!(read(b"").is_err());
        assert!(read(&bytes[..bytes.len() - 5]).is_err());
        let mut damaged = bytes;
        damaged[35] ^= 0x55;
        assert!(read(&damaged).is_err());
    }
}
