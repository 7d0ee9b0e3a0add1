//! The object manager: an external data processor that 1C itself runs.
//!
//! The component carries it as bytes and hands it out as a file, because the platform takes it from
//! nowhere else. One file serves the process; it is private to its user and goes with the last
//! object of the process, with the library, or with the process. What the manager does is written
//! in BSL, see `crates/addin/manager`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use licence_client::ClientError;

use crate::guard::try_lock;
use crate::random;

/// The processor, packed while the component was built.
pub(crate) const EPF: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/manager.epf"));

/// How often another name is drawn when a file of that name exists.
const TRIES_MAX: u32 = 8;

/// A file that goes with the value.
struct Written {
    path: PathBuf,
    /// The process that wrote it: a child after `fork` has no say in it.
    pid: u32,
}

impl Drop for Written {
    fn drop(&mut self) {
        if self.pid == std::process::id()
            && let Err(why) = std::fs::remove_file(&self.path)
            && why.kind() != io::ErrorKind::NotFound
        {
            log::warn!("the object manager's file is left behind: {why}");
        }
    }
}

static FILE: Mutex<Option<Written>> = Mutex::new(None);

/// Name of the file with the object manager, written if it is not there.
pub(crate) fn file_name() -> Result<String, ClientError> {
    let mut file = FILE.lock().unwrap_or_else(PoisonError::into_inner);
    let is_there = file
        .as_ref()
        .is_some_and(|written| written.pid == std::process::id() && is_whole(&written.path));
    if !is_there {
        *file = None;
        *file = Some(write(&std::env::temp_dir(), EPF).map_err(|why| failed(&why))?);
    }
    let path = file.as_ref().map(|written| written.path.clone()).unwrap_or_default();
    path.into_os_string().into_string().map_err(|_| {
        failed(&io::Error::other("the folder for temporary files has no name in Unicode"))
    })
}

/// Removes the file, unless another thread is at it while the process exits.
pub(crate) fn discard() {
    if let Some(mut file) = try_lock(&FILE) {
        *file = None;
    }
}

/// Whether nobody has removed or cut the file.
fn is_whole(path: &Path) -> bool {
    let found = std::fs::symlink_metadata(path);
    found.is_ok_and(|meta| meta.is_file() && meta.len() == EPF.len() as u64)
}

fn write(folder: &Path, content: &[u8]) -> io::Result<Written> {
    let mut tries = 0;
    loop {
        let path = folder.join(format!("licence-manager-{}.epf", random::name()?));
        tries += 1;
        match create(&path) {
            Ok(mut file) => {
                let written = Written { path, pid: std::process::id() };
                let result = file.write_all(content);
                // Some systems remove no file that is open.
                drop(file);
                return result.map(|()| written);
            }
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists && tries < TRIES_MAX => {}
            Err(why) => return Err(why),
        }
    }
}

/// A file that did not exist and that nobody else may read or replace the content of.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn failed(why: &io::Error) -> ClientError {
    ClientError::new(
        "EExecuteError",
        format!("Не удалось записать файл менеджера объектов: {why}"),
        format!("the file of the object manager could not be written: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_private_whole_and_goes_with_its_value() {
        let folder = tempfile::tempdir().unwrap();
        let written = write(folder.path(), b"content").unwrap();
        let second = write(folder.path(), b"content").unwrap();
        assert_ne!(written.path, second.path);
        assert_eq!(std::fs::read(&written.path).unwrap(), b"content");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&written.path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let path = written.path.clone();
        drop(written);
        assert!(!path.exists());
        let mut foreign = second;
        foreign.pid = foreign.pid.wrapping_add(1);
        let path = foreign.path.clone();
        drop(foreign);
        assert!(path.exists(), "a child after fork leaves its parent's file alone");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(write(&folder.path().join("none"), b"x").is_err());
    }
}
