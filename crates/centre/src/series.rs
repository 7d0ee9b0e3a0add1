//! The series that a centre serves: opened once at the start, kept in memory.
//!
//! Every `XXXX.cryptkey` in the folder needs its `XXXX.series` beside it, and the two must belong
//! together. A `XXXX.series` alone is served too: the vendor signs for it by hand. Nothing is written
//! here.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use licence_core::key::KeySeries;
use licence_core::seal::PublicKey;
use licence_core::series::{
    SERIES_FILE_BYTES_MAX, SeriesDescriptor, SeriesError, parse_series_file,
};
use licencekit::files::{self, FileError};
use licencekit::passphrase::{Passphrase, PassphraseError};
use licencekit::secret::{CRYPTKEY_BYTES_MAX, SecretError, SeriesSecret};
use licencekit::signing::Signer;

/// A series, with its secret part or without it.
#[derive(Debug)]
pub struct Series {
    /// The public part.
    pub descriptor: SeriesDescriptor,
    /// Verifies what its key has signed.
    pub public_key: PublicKey,
    /// Signs licences. Without it the vendor signs them, on a machine of their own.
    pub signer: Option<Signer>,
}

/// All series of a centre.
pub type SeriesSet = BTreeMap<KeySeries, Series>;

/// Why the series could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeriesSetError {
    /// The public part describes another series than its name says.
    #[error("{} does not describe the series that it is named after", .0.display())]
    Another(PathBuf),
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
            public_key: secret.signing_key().public(),
            signer: Some(Signer::new(secret)),
        }
    }

    /// A series whose secret is elsewhere.
    ///
    /// # Errors
    ///
    /// When the descriptor names no key.
    pub fn signed_by_hand(descriptor: SeriesDescriptor) -> Result<Self, SeriesError> {
        Ok(Self { public_key: descriptor.signing_key()?, descriptor, signer: None })
    }
}

/// Opens all series in a folder. `passphrase` is asked for only when there is a secret to open.
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
    let mut public = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension() == Some(OsStr::new("cryptkey")) {
            paths.push(path);
        } else if path.extension() == Some(OsStr::new("series"))
            && let Some(series) = series_of(&path)
        {
            public.insert(series, path);
        }
    }
    let mut set = SeriesSet::new();
    if !paths.is_empty() {
        paths.sort();
        let passphrase = passphrase()?;
        for path in paths {
            let bytes = files::read(&path, CRYPTKEY_BYTES_MAX)?;
            let secret = SeriesSecret::open(&bytes, &passphrase)
                .map_err(|source| SeriesSetError::Secret { path: path.clone(), source })?;
            let descriptor = read_descriptor(&path.with_extension("series"), &secret)?;
            set.insert(secret.series(), Series::new(&secret, descriptor));
        }
    }
    for (series, path) in public {
        if set.contains_key(&series) {
            continue;
        }
        let failed = |source| SeriesSetError::Descriptor { path: path.clone(), source };
        let descriptor = described(&path)?
            .remove(&series)
            .ok_or_else(|| SeriesSetError::Another(path.clone()))?;
        set.insert(series, Series::signed_by_hand(descriptor).map_err(failed)?);
    }
    Ok(set)
}

/// The series that a file is named after.
fn series_of(path: &Path) -> Option<KeySeries> {
    path.file_stem()?.to_str()?.parse().ok()
}

fn described(path: &Path) -> Result<BTreeMap<KeySeries, SeriesDescriptor>, SeriesSetError> {
    let failed = |source| SeriesSetError::Descriptor { path: path.to_owned(), source };
    let bytes = files::read(path, SERIES_FILE_BYTES_MAX)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| failed(SeriesError::Syntax("not UTF-8 text".to_owned())))?;
    parse_series_file(&text).map_err(failed)
}

fn read_descriptor(path: &Path, secret: &SeriesSecret) -> Result<SeriesDescriptor, SeriesSetError> {
    let failed = |source| SeriesSetError::Descriptor { path: path.to_owned(), source };
    let descriptor = described(path)?
        .remove(&secret.series())
        .ok_or_else(|| SeriesSetError::Apart(path.to_owned()))?;
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
    fn series_without_its_secret_is_signed_by_hand_and_needs_no_passphrase() {
        let folder = tempfile::tempdir().unwrap();
        let series = KeySeries::from_u16(0x672B);
        let secret = SeriesSecret::from_bytes(series, [1; 32], [2; 32]);
        let text = serde_json::to_string(&secret.descriptor("p".into(), None)).unwrap();
        std::fs::write(folder.path().join("672B.series"), &text).unwrap();
        // Not named after a series: a list for servers that somebody left here.
        std::fs::write(folder.path().join("licence.series"), "x").unwrap();
        let set = open_all(folder.path(), no_passphrase).unwrap();
        assert_eq!(set.keys().collect::<Vec<_>>(), [&series]);
        assert!(set[&series].signer.is_none());
        assert_eq!(set[&series].public_key, secret.signing_key().public());
        std::fs::write(folder.path().join("0001.series"), &text).unwrap();
        let wrong = open_all(folder.path(), no_passphrase);
        assert!(matches!(wrong, Err(SeriesSetError::Another(_))), "{wrong:?}");
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
