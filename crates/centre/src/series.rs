//! The series that a centre serves: opened once at the start, kept in memory.
//!
//! Every `XXXX.cryptkey` in the folder needs its `XXXX.series` beside it, and the two must belong
//! together. Nothing is written here.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use licence_core::key::KeySeries;
use licence_core::seal::{KEY_BYTES, SigningKey};
use licence_core::series::{
    SERIES_FILE_BYTES_MAX, SeriesDescriptor, SeriesError, parse_series_file,
};
use licencekit::files::{self, FileError};
use licencekit::passphrase::{Passphrase, PassphraseError};
use licencekit::secret::{CRYPTKEY_BYTES_MAX, SecretError, SeriesSecret};
use zeroize::Zeroizing;

/// A series with its secret part.
pub struct Series {
    /// The public part.
    pub descriptor: SeriesDescriptor,
    /// Signs licences.
    pub signing_key: SigningKey,
    /// The X25519 secret for which protected objects are wrapped; servers with a licence get it,
    /// wrapped for each of them.
    pub object_secret: Zeroizing<[u8; KEY_BYTES]>,
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Series")
            .field("descriptor", &self.descriptor)
            .field("signing_key", &self.signing_key)
            .finish_non_exhaustive()
    }
}

/// All series of a centre.
pub type SeriesSet = BTreeMap<KeySeries, Series>;

/// Why the series could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeriesSetError {
    /// The public part does not describe the series, or has another key than the secret part.
    #[error("{} does not belong to the secret part of the series beside it", .0.display())]
    Apart(PathBuf),
    /// The public part is damaged.
    #[error("{}", .path.display())]
    Descriptor {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: SeriesError,
    },
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The folder cannot be listed.
    #[error("{}", .path.display())]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There are secret parts and no passphrase to open them.
    #[error("the secret parts of series need a passphrase")]
    Passphrase(#[from] PassphraseError),
    /// A secret part does not open.
    #[error("{}", .path.display())]
    Secret {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: SecretError,
    },
}

impl Series {
    /// The series of a secret, under this product name.
    pub fn new(secret: &SeriesSecret, descriptor: SeriesDescriptor) -> Self {
        Self {
            descriptor,
            signing_key: secret.signing_key(),
            object_secret: Zeroizing::new(*secret.object_secret()),
        }
    }
}

/// Opens all series in a folder. `passphrase` is asked for only when there is one to open.
///
/// # Errors
///
/// See [`SeriesSetError`]: a centre that silently left out a series would refuse its buyers.
pub fn open_all(
    folder: &Path,
    passphrase: impl FnOnce() -> Result<Passphrase, PassphraseError>,
) -> Result<SeriesSet, SeriesSetError> {
    let failed = |source| SeriesSetError::Folder { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension() == Some(OsStr::new("cryptkey")) {
            paths.push(path);
        }
    }
    let mut set = SeriesSet::new();
    if paths.is_empty() {
        return Ok(set);
    }
    paths.sort();
    let passphrase = passphrase()?;
    for path in paths {
        let bytes = files::read(&path, CRYPTKEY_BYTES_MAX)?;
        let secret = SeriesSecret::open(&bytes, &passphrase)
            .map_err(|source| SeriesSetError::Secret { path: path.clone(), source })?;
        let public = path.with_extension("series");
        let descriptor = read_descriptor(&public, &secret)?;
        set.insert(secret.series(), Series::new(&secret, descriptor));
    }
    Ok(set)
}

fn read_descriptor(path: &Path, secret: &SeriesSecret) -> Result<SeriesDescriptor, SeriesSetError> {
    let failed = |source| SeriesSetError::Descriptor { path: path.to_owned(), source };
    let bytes = files::read(path, SERIES_FILE_BYTES_MAX)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| failed(SeriesError::Syntax("not UTF-8 text".to_owned())))?;
    let mut described = parse_series_file(&text).map_err(failed)?;
    let descriptor =
        described.remove(&secret.series()).ok_or_else(|| SeriesSetError::Apart(path.to_owned()))?;
    if descriptor.signing_key().map_err(failed)? != secret.signing_key().public()
        || descriptor.object_key() != Some(secret.object_public())
    {
        // A server that knows another object key would take no object key from our licences.
        return Err(SeriesSetError::Apart(path.to_owned()));
    }
    Ok(descriptor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_passphrase() -> Result<Passphrase, PassphraseError> {
        Err(PassphraseError::Missing)
    }

    #[test]
    fn empty_folder_needs_no_passphrase_and_a_secret_does() {
        let folder = tempfile::tempdir().unwrap();
        assert!(open_all(folder.path(), no_passphrase).unwrap().is_empty());
        std::fs::write(folder.path().join("672B.cryptkey"), b"x").unwrap();
        let result = open_all(folder.path(), no_passphrase).map(|_| ());
        assert!(matches!(result, Err(SeriesSetError::Passphrase(_))));
    }

    #[test]
    fn public_part_of_another_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("672B.series");
        let series = KeySeries::from_u16(0x672B);
        let own = SeriesSecret::from_bytes(series, [1; 32], [2; 32]);
        let other = SeriesSecret::from_bytes(series, [3; 32], [2; 32]);
        let third = SeriesSecret::from_bytes(series, [1; 32], [3; 32]);
        let text = serde_json::to_string(&own.descriptor("p".into(), None)).unwrap();
        std::fs::write(&path, text).unwrap();
        assert!(read_descriptor(&path, &own).is_ok());
        for secret in [other, third] {
            assert!(matches!(read_descriptor(&path, &secret), Err(SeriesSetError::Apart(_))));
        }
    }
}
