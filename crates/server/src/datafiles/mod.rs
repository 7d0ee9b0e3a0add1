//! The vendors' data files that lie beside the licences: `XXXX.datafile` and `XXXX.Alias.datafile`.
//!
//! The folder is looked at when somebody asks, once a second at most; a list is read again only when
//! its file is another one. Lists are kept, objects never: their bytes are read from the file when
//! they are asked for, and opening them is the component's work. Nothing here decides who gets a key.

mod problem;
mod scan;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use licence_core::datafile::ObjectList;
use licence_core::key::KeySeries;
use licence_core::seal::PublicKey;
use licence_core::time::{MonoTime, Utc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use problem::Problem;
use scan::Stamp;

use crate::clock;

/// Data files that are read. A customer has the products of some vendors with some files each; their
/// lists are kept in memory, so there must be an end.
pub const FILES_MAX: usize = 100;

/// What was seen of the folder holds so long: a second look at the same files costs more than it
/// tells when a thousand sessions begin at one moment.
const LOOK_LIFE: Duration = Duration::from_secs(1);

/// How long a request waits for the disk before it is told to come again. A component gives a
/// request three seconds.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Lists and parts that are in memory at one time, until they have been sent: some 6 MiB each (a list
/// of the largest size 8) while they are written as JSON, about half while they wait for their reader. Who stops reading is cut off by
/// [`crate::stall`].
const PARTS_MAX: usize = 32;

/// Which file of a series: the alias in small letters, because 1C's names have no case.
pub(crate) type Name = (KeySeries, Option<String>);

/// The list of a data file that is genuine.
#[derive(Debug)]
pub struct Contents {
    /// The list as it stands in the file.
    pub token: String,
    /// Names this version of the file.
    pub version: String,
    /// The list, read.
    pub list: ObjectList,
    /// Where the ciphertexts begin.
    body_offset: u64,
}

/// A file of the folder whose name is one of a data file, or nearly.
#[derive(Debug)]
pub struct Known {
    /// Its name in the folder.
    pub file_name: String,
    /// Series and alias as its name has them; nothing when its name says neither.
    pub series: Option<KeySeries>,
    /// The alias as it is written.
    pub alias: Option<String>,
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was changed last, as the file system has it.
    pub changed: Option<Utc>,
    /// What is in it, or why it cannot be used.
    pub contents: Result<Contents, Problem>,
    path: PathBuf,
    stamp: Option<Stamp>,
    key: Option<PublicKey>,
}

/// The folder as it was seen.
#[derive(Debug, Default)]
pub struct Listing {
    /// The files that may be asked for.
    files: BTreeMap<Name, Arc<Known>>,
    /// Files that nobody can ask for: of a name that is none, or taken.
    others: Vec<Arc<Known>>,
}

impl Listing {
    /// The file of a series, and of an alias whatever its case.
    pub fn find(&self, series: KeySeries, alias: Option<&str>) -> Option<&Arc<Known>> {
        self.files.get(&(series, alias.map(str::to_lowercase)))
    }

    /// All files by series and alias, then those that nobody can ask for.
    pub fn all(&self) -> impl Iterator<Item = &Known> {
        self.files.values().chain(&self.others).map(|known| &**known)
    }
}

/// Why there is no answer about data files.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DatafilesError {
    /// The file is another one than the caller knows, or is gone.
    #[error("the data file has changed")]
    Changed,
    /// The disk does not answer, or too many ask.
    #[error("the disk does not answer in time")]
    Busy,
    /// The folder cannot be listed.
    #[error("the folder of the data files cannot be listed: {0}")]
    Folder(String),
    /// The file cannot be read.
    #[error("the data file cannot be read: {0}")]
    Read(String),
}

/// Bytes of a file and the right to have them in memory.
#[derive(Debug)]
pub struct Part {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Given back when they have been sent.
    pub room: Room,
}

/// The right to have megabytes of a file in memory; given back when it is dropped.
#[derive(Debug)]
pub struct Room {
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug, Default)]
struct Seen {
    at: Option<MonoTime>,
    listing: Arc<Listing>,
}

/// The data files of one server.
#[derive(Debug)]
pub struct Datafiles {
    folder: PathBuf,
    seen: Mutex<Seen>,
    /// One look at the folder at a time: others use what it brings.
    turn: Arc<Semaphore>,
    parts: Arc<Semaphore>,
}

impl Datafiles {
    /// The data files of a folder; nothing is read yet.
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            seen: Mutex::default(),
            turn: Arc::new(Semaphore::new(1)),
            parts: Arc::new(Semaphore::new(PARTS_MAX)),
        }
    }

    /// The folder as it was at most a second ago, its files verified under these keys.
    ///
    /// # Errors
    ///
    /// [`DatafilesError::Folder`], [`DatafilesError::Busy`].
    pub async fn look(
        &self,
        keys: BTreeMap<KeySeries, PublicKey>,
    ) -> Result<Arc<Listing>, DatafilesError> {
        if let Some(listing) = self.fresh(&keys) {
            return Ok(listing);
        }
        let turn = wait_for(&self.turn).await?;
        // Another has looked while this one waited.
        if let Some(listing) = self.fresh(&keys) {
            return Ok(listing);
        }
        let (folder, before) = (self.folder.clone(), Arc::clone(&self.seen().listing));
        let looked = tokio::task::spawn_blocking(move || {
            // Kept by the look itself: where the disk hangs, there is one that hangs and no more.
            let _turn = turn;
            scan::folder(&folder, &keys, &before)
        });
        let listing = match tokio::time::timeout(WAIT_MAX, looked).await {
            Ok(Ok(Ok(listing))) => Arc::new(listing),
            Ok(Ok(Err(error))) => return Err(DatafilesError::Folder(error.to_string())),
            Ok(Err(error)) => return Err(DatafilesError::Folder(error.to_string())),
            Err(_) => return Err(DatafilesError::Busy),
        };
        *self.seen() = Seen { at: Some(clock::mono()), listing: Arc::clone(&listing) };
        Ok(listing)
    }

    /// Bytes of a file, counted from the first ciphertext. The caller has checked that they lie
    /// within it.
    ///
    /// # Errors
    ///
    /// [`DatafilesError::Changed`] when the file is not the one that was seen,
    /// [`DatafilesError::Read`], [`DatafilesError::Busy`].
    pub async fn part(
        &self,
        known: &Arc<Known>,
        offset: u64,
        length: usize,
    ) -> Result<Part, DatafilesError> {
        let room = self.room().await?;
        let known = Arc::clone(known);
        let read = tokio::task::spawn_blocking(move || {
            let bytes = read_part(&known, offset, length)?;
            Ok(Part { bytes, room })
        });
        let part = match tokio::time::timeout(WAIT_MAX, read).await {
            Ok(Ok(part)) => part,
            Ok(Err(error)) => Err(DatafilesError::Read(error.to_string())),
            Err(_) => Err(DatafilesError::Busy),
        };
        if part.is_err() {
            // Whoever asks next shall see what is there and not what was.
            self.seen().at = None;
        }
        part
    }

    /// Room for the list of a file or a part of it.
    ///
    /// # Errors
    ///
    /// [`DatafilesError::Busy`].
    pub async fn room(&self) -> Result<Room, DatafilesError> {
        Ok(Room { _permit: wait_for(&self.parts).await? })
    }

    fn fresh(&self, keys: &BTreeMap<KeySeries, PublicKey>) -> Option<Arc<Listing>> {
        let seen = self.seen();
        let at = seen.at?;
        let is_young = clock::mono().since(at) < LOOK_LIFE;
        // A series that has become known since makes its file usable at once.
        let has_same_keys = seen
            .listing
            .all()
            .all(|known| known.series.is_none_or(|series| keys.get(&series) == known.key.as_ref()));
        (is_young && has_same_keys).then(|| Arc::clone(&seen.listing))
    }

    /// Held only as long as it takes to copy a pointer.
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    /// Bytes of all ciphertexts.
    pub fn body_bytes(&self) -> u64 {
        self.list.body_bytes()
    }
}

impl Room {
    /// An answer's body that gives the room back when it has been sent.
    pub fn into_body(self, body: Vec<u8>) -> Bytes {
        struct Sent {
            body: Vec<u8>,
            _room: Room,
        }
        impl AsRef<[u8]> for Sent {
            fn as_ref(&self) -> &[u8] {
                &self.body
            }
        }
        Bytes::from_owner(Sent { body, _room: self })
    }
}

async fn wait_for(turns: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, DatafilesError> {
    match tokio::time::timeout(WAIT_MAX, Arc::clone(turns).acquire_owned()).await {
        Ok(Ok(turn)) => Ok(turn),
        Ok(Err(_)) | Err(_) => Err(DatafilesError::Busy),
    }
}

fn read_part(known: &Known, offset: u64, length: usize) -> Result<Vec<u8>, DatafilesError> {
    let Ok(contents) = &known.contents else { return Err(DatafilesError::Changed) };
    let failed = |error: std::io::Error| {
        let is_gone = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof);
        if is_gone { DatafilesError::Changed } else { DatafilesError::Read(error.to_string()) }
    };
    let file = scan::open(&known.path).map_err(failed)?;
    let stamp = Stamp::of(&file.metadata().map_err(failed)?);
    if known.stamp.as_ref() != Some(&stamp) {
        return Err(DatafilesError::Changed);
    }
    let mut bytes = vec![0; length];
    read_exact_at(&file, &mut bytes, contents.body_offset.saturating_add(offset))
        .map_err(failed)?;
    // Somebody who writes over the file in place while it is read changes its stamp.
    if Stamp::of(&file.metadata().map_err(failed)?) != stamp {
        return Err(DatafilesError::Changed);
    }
    Ok(bytes)
}

#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(not(unix))]
fn read_exact_at(mut file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    // The file was opened for this one read, so its position is nobody else's.
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(bytes)
}

/// The name in the folder, for people.
fn shown_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
