//! The file of session keys: `3.0/ismp.store`, JSON in which every key of the service stands sealed.
//!
//! The seal's key follows from the server's identity, so a copy of the file opens nowhere else. What
//! stands in the file besides the keys is plain. A file that cannot be read is put aside.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use licence_core::causes::with_causes;
use licence_core::seal::{KEY_BYTES, aead_open, aead_seal};
use licence_ismp::book::Text;
use licence_ismp::saved::{SavedBook, SavedError};
use licence_ismp::{Book, SessionKey, StoreKey};
use zeroize::Zeroizing;

use super::texts;
use crate::atomic_file::{self, Readers};
use crate::{clock, random};

/// Largest file that is read, in bytes: 2000 keys of 16 KiB in base64, and the rules.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Bytes of a nonce of ChaCha20-Poly1305.
const NONCE_BYTES: usize = 12;

/// Why the book is not in the file, or not of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk.
    #[error("{0}")]
    Disk(#[from] io::Error),
    /// Too large to be ours.
    #[error("the file is larger than {FILE_BYTES_MAX} bytes")]
    TooLarge,
    /// No JSON, or not of the form.
    #[error("not the JSON that was expected, line {0}")]
    Form(usize),
    /// A book that cannot be.
    #[error(transparent)]
    Book(#[from] SavedError),
    /// No random bytes, or a key that no cipher takes.
    #[error("a session key cannot be sealed")]
    Seal,
}

/// Where the book lies and how its keys are sealed.
pub struct Store {
    file: PathBuf,
    key: Zeroizing<[u8; KEY_BYTES]>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.file.display())
    }
}

impl Store {
    /// Reads the book; an empty one when there is none or it cannot be read, with what to tell of
    /// that. Blocks on the disk.
    pub fn open(file: &Path, key: Zeroizing<[u8; KEY_BYTES]>) -> (Book, Self, Option<Text>) {
        let store = Self { file: file.to_owned(), key };
        match store.read() {
            Ok((book, lost)) => {
                for key in lost {
                    log::warn!("the session key of {key} does not open and is dropped");
                }
                (book, store, None)
            }
            Err(error) => {
                log::error!("the session keys cannot be read: {}", with_causes(&error));
                let aside = store.put_aside();
                (Book::default(), store, Some(texts::unreadable(aside.as_deref())))
            }
        }
    }

    fn read(&self) -> Result<(Book, Vec<StoreKey>), StoreError> {
        let opened = match File::open(&self.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
            opened => opened?,
        };
        let mut bytes = Vec::new();
        opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(StoreError::TooLarge);
        }
        // What stands in the wrong place is not repeated: it may be nearly anything.
        let saved: SavedBook =
            serde_json::from_slice(&bytes).map_err(|error| StoreError::Form(error.line()))?;
        Ok(Book::open(saved, |key, sealed| self.opened(key, sealed))?)
    }

    /// The name under which a file that cannot be read is kept; nothing when it stays in place.
    fn put_aside(&self) -> Option<String> {
        let at: String =
            clock::utc().to_string().chars().filter(char::is_ascii_alphanumeric).collect();
        let own = self.file.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{own}.bad-{at}");
        match fs::rename(&self.file, self.file.with_file_name(&name)) {
            Ok(()) => Some(name),
            Err(error) => {
                log::error!("{} cannot be put aside: {error}", self.file.display());
                None
            }
        }
    }

    /// The bytes of the file for this book.
    ///
    /// # Errors
    ///
    /// [`StoreError::Seal`].
    pub fn sealed(&self, book: &Book) -> Result<Vec<u8>, StoreError> {
        let saved = book.save(|key, token| self.seal(key, token))?;
        serde_json::to_vec_pretty(&saved).map_err(|error| StoreError::Form(error.line()))
    }

    /// Replaces the file; it is on the disk then.
    ///
    /// # Errors
    ///
    /// [`StoreError::Disk`].
    pub async fn write(&self, bytes: Vec<u8>) -> Result<(), StoreError> {
        let file = self.file.clone();
        let writing = tokio::task::spawn_blocking(move || {
            atomic_file::replace(&file, &bytes, Readers::Owner)
        });
        writing.await.map_err(io::Error::other)??;
        Ok(())
    }

    /// Seals a session key for its place in the book: nonce, ciphertext and tag in base64.
    fn seal(&self, key: &StoreKey, token: &SessionKey) -> Result<String, StoreError> {
        let mut nonce = [0; NONCE_BYTES];
        random::fill(&mut nonce).map_err(|_| StoreError::Seal)?;
        let plain = token.reveal().as_bytes();
        let sealed = aead_seal(&self.key, nonce, key.to_string().as_bytes(), plain);
        let sealed = sealed.ok_or(StoreError::Seal)?;
        Ok(STANDARD.encode([&nonce[..], &sealed].concat()))
    }

    fn opened(&self, key: &StoreKey, text: &str) -> Option<SessionKey> {
        let bytes = STANDARD.decode(text).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        let plain = aead_open(&self.key, *nonce, key.to_string().as_bytes(), sealed)?;
        let plain = Zeroizing::new(plain);
        SessionKey::new(std::str::from_utf8(&plain).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use licence_ismp::book::Given;
    use licence_ismp::record::Who;
    use licence_ismp::{Source, TokenFormat};

    use super::*;

    const TOKEN: &str = "very-secret-token-of-the-service";

    fn key(object: &str) -> StoreKey {
        StoreKey {
            contour: Default::default(),
            kind: licence_ismp::TokenKind::Suz,
            organization: "7707083893".parse().unwrap(),
            production_object: Some(object.parse().unwrap()),
        }
    }

    fn book() -> Book {
        let now = clock::utc();
        let mut book = Book::default();
        let given = Given {
            token: SessionKey::new(TOKEN).unwrap(),
            valid_until: now.plus_days(1),
            inn: None,
            format: TokenFormat::Uuid,
            source: Source::Manual,
            who: Who::default(),
            asked: now,
            warning: None,
        };
        book.put(&key("one"), given).unwrap();
        book
    }

    fn open(file: &Path, seed: u8) -> (Book, Store, Option<Text>) {
        Store::open(file, Zeroizing::new([seed; KEY_BYTES]))
    }

    #[tokio::test]
    async fn book_is_read_back_by_the_same_identity_and_opens_for_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("3.0/ismp.store");
        let (empty, store, problem) = open(&file, 1);
        assert_eq!((empty.records().count(), problem), (0, None));
        store.write(store.sealed(&book()).unwrap()).await.unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert!(!text.contains(TOKEN) && text.contains("7707083893"), "{text}");
        assert!(!text.contains(&STANDARD.encode(TOKEN)), "{text}");
        let (again, _, problem) = open(&file, 1);
        assert_eq!(again.record(&key("one")).unwrap().token.reveal(), TOKEN);
        assert_eq!(problem, None);
        let (other, _, _) = open(&file, 2);
        assert_eq!(other.records().count(), 0, "another identity");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[tokio::test]
    async fn sealed_key_that_was_moved_to_another_place_does_not_open() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ismp.store");
        let (_, store, _) = open(&file, 1);
        store.write(store.sealed(&book()).unwrap()).await.unwrap();
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("\"one\"", "\"two\"")).unwrap();
        assert_eq!(open(&file, 1).0.records().count(), 0);
    }

    #[test]
    fn one_key_is_sealed_differently_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let (_, store, _) = open(&folder.path().join("ismp.store"), 1);
        let (one, two) = (store.sealed(&book()).unwrap(), store.sealed(&book()).unwrap());
        assert_ne!(one, two);
    }

    #[test]
    fn file_that_cannot_be_read_is_put_aside_and_the_book_begins_empty() {
        let folder = tempfile::tempdir().unwrap();
        for (n, text) in ["", "{", "[]", "{\"Version\":99,\"Generation\":1}"].iter().enumerate() {
            let file = folder.path().join(format!("{n}/ismp.store"));
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, text).unwrap();
            let (book, _, problem) = open(&file, 1);
            assert_eq!(book.records().count(), 0, "{text:?}");
            let names: Vec<_> = fs::read_dir(file.parent().unwrap())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            assert!(names.len() == 1 && names[0].starts_with("ismp.store.bad-"), "{names:?}");
            assert!(problem.unwrap().english.contains(&names[0]), "{text:?}");
        }
    }
}
