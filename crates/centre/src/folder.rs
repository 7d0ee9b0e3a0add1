//! The data folder of a centre: where things lie, the lock that keeps a second centre out, the
//! vendor's token.
//!
//! ```text
//! DIR/centre.lock      held while a centre runs
//! DIR/admin.token      bearer token of the vendor's calls, mode 0600
//! DIR/centre.db        the books
//! DIR/series/          XXXX.cryptkey and XXXX.series
//! DIR/attestation-roots/*.der   makers of tokens whose word counts; the folder may be missing
//! ```
//!
//! What stands in the books and keys is not looked at here.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use licence_core::seal::{hex_upper, sha256};
use licencekit::files::{self, FileError, Readers};
use licencekit::random::{self, RandomError};
use subtle::ConstantTimeEq;

use crate::attestation::{CERTIFICATE_BYTES_MAX, Roots};

/// Largest token file: the token made here has 64 characters.
const TOKEN_BYTES_MAX: usize = 4096;

/// Fewest characters of a token that a vendor put there: 32 hex digits are 128 bits.
const TOKEN_CHARS_MIN: usize = 32;

/// A data folder that belongs to this process until it is dropped.
#[derive(Debug)]
pub struct DataFolder {
    root: PathBuf,
    /// Closing it releases the lock.
    _lock: File,
}

/// Why the data folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// Not a certificate.
    #[error("{} is not an X.509 certificate in DER", .0.display())]
    Certificate(PathBuf),
    /// A file cannot be read or made.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another centre runs on this folder.
    #[error("another centre runs on {}", .0.display())]
    InUse(PathBuf),
    /// The lock cannot be taken.
    #[error("{}", .path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No random bytes for a token.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The folder with the roots of makers cannot be listed.
    #[error("{}", .path.display())]
    Roots {
        /// Which folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The token file holds no usable token.
    #[error("{} must hold one line of at least {TOKEN_CHARS_MIN} printable characters", .0.display())]
    Token(PathBuf),
}

impl DataFolder {
    /// Makes the folder where it is missing and takes it for this process.
    ///
    /// # Errors
    ///
    /// [`FolderError::InUse`] when another centre has it; two centres on one folder would give
    /// out the same key numbers.
    pub fn take(root: &Path) -> Result<Self, FolderError> {
        files::make_private_folder(root)?;
        files::make_private_folder(&root.join("series"))?;
        let path = root.join("centre.lock");
        let failed = |source| FolderError::Lock { path: path.clone(), source };
        let lock = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { root: root.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(FolderError::InUse(root.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Folder with the files of series.
    pub fn series(&self) -> PathBuf {
        self.root.join("series")
    }

    /// File of the books.
    pub fn books(&self) -> PathBuf {
        self.root.join("centre.db")
    }

    /// The roots of the makers of tokens whose word counts; none where there is no such folder.
    ///
    /// # Errors
    ///
    /// When a file there cannot be read or is no certificate.
    pub fn attestation_roots(&self) -> Result<Roots, FolderError> {
        let path = self.root.join("attestation-roots");
        let mut roots = Roots::default();
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(roots),
            Err(source) => return Err(FolderError::Roots { path, source }),
        };
        let mut files = Vec::new();
        for entry in entries {
            let file = entry.map_err(|source| FolderError::Roots { path: path.clone(), source })?;
            if file.path().extension().is_some_and(|extension| extension == "der") {
                files.push(file.path());
            }
        }
        files.sort();
        for file in files {
            let der = files::read(&file, CERTIFICATE_BYTES_MAX)?;
            roots.add(der).map_err(|_| FolderError::Certificate(file))?;
        }
        Ok(roots)
    }

    /// The vendor's token; made at the first start.
    ///
    /// # Errors
    ///
    /// When it cannot be read or made, or is too short to be one.
    pub fn admin_token(&self) -> Result<AdminToken, FolderError> {
        let path = self.root.join("admin.token");
        if path.symlink_metadata().is_err() {
            let line = format!("{}\n", hex_upper(random::key_bytes()?.as_ref()));
            files::create(&path, line.as_bytes(), Readers::Owner)?;
        }
        let bytes = files::read(&path, TOKEN_BYTES_MAX)?;
        let token = bytes.trim_ascii();
        if token.len() < TOKEN_CHARS_MIN || !token.iter().all(u8::is_ascii_graphic) {
            return Err(FolderError::Token(path));
        }
        Ok(AdminToken::new(token))
    }
}

/// The vendor's token, kept as its digest.
#[derive(Clone, Debug)]
pub struct AdminToken([u8; 32]);

impl AdminToken {
    /// The token with these bytes.
    pub fn new(token: &[u8]) -> Self {
        Self(sha256(token))
    }

    /// Whether `offered` is the token. Digests are compared in constant time, so the answer's
    /// delay tells nothing of the token, not even its length.
    pub fn fits(&self, offered: &[u8]) -> bool {
        self.0.ct_eq(&sha256(offered)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_made_once_and_for_the_owner_only() {
        let base = tempfile::tempdir().unwrap();
        let folder = DataFolder::take(&base.path().join("centre")).unwrap();
        let token = folder.admin_token().unwrap();
        let path = base.path().join("centre/admin.token");
        let line = std::fs::read_to_string(&path).unwrap();
        assert_eq!(line.len(), 65);
        assert!(token.fits(line.trim_end().as_bytes()));
        assert!(!token.fits(b"") && !token.fits(line.as_bytes()));
        assert!(folder.admin_token().unwrap().fits(line.trim_end().as_bytes()));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        std::fs::write(&path, "short\n").unwrap();
        assert!(matches!(folder.admin_token(), Err(FolderError::Token(_))));
    }

    #[test]
    fn second_centre_on_the_same_folder_is_kept_out() {
        let base = tempfile::tempdir().unwrap();
        let first = DataFolder::take(base.path()).unwrap();
        assert!(matches!(DataFolder::take(base.path()), Err(FolderError::InUse(_))));
        drop(first);
        assert!(DataFolder::take(base.path()).is_ok());
    }
}
