//! The activations that this server has given back, and those it has asked a centre to take back:
//! kept in one file, so that a copy of their licence does not bring the key back.
//!
//! Which of them are let in again is decided by the keyring; whether a receipt is genuine, too.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use licence_core::key::{KeyNo, KeySeries};
use licence_core::time::Utc;
use serde::{Deserialize, Serialize};

use super::{Held, InstallError, KeyringError, read_text};
use crate::atomic_file::{self, Readers};

/// Name of the file, in the folder of the licences.
pub(super) const FILE: &str = "returned.json";

/// Version of the file's form.
const FORMAT: u32 = 1;

/// Activations that are kept. A server gives back some keys a year; more than these is a script
/// that runs wild, and each is refused rather than an older one forgotten.
const ENTRIES_MAX: usize = 5000;

/// Returns that may be under way at one time; each keeps its licence document.
const PENDING_MAX: usize = 200;

/// Largest file that is read: 5000 receipts of some 1 KiB and 200 documents of at most 20 KiB.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// An activation that does not work here any more.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry {
    pub(super) activation: String,
    pub(super) key_no: KeyNo,
    #[serde(rename = "KeyID")]
    pub(super) series: KeySeries,
    /// When the request was made or, without one, the receipt came.
    pub(super) at: Utc,
    /// The licence, as long as the return may be called off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) document: Option<String>,
    /// The centre's word that the key is given back; without it the return is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) receipt: Option<String>,
    /// Whether this server has asked for the receipt: its reserve code is then told again to who asks
    /// again. A receipt that came without being asked for holds a code that is spent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) was_asked_for: bool,
}

impl Entry {
    pub(super) const fn is_pending(&self) -> bool {
        self.receipt.is_none()
    }

    pub(super) fn held(&self) -> Held {
        Held { series: self.series, activation: self.activation.clone(), token: None }
    }
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct File {
    format: u32,
    entries: Vec<Entry>,
}

/// All of them, by the id of the activation.
#[derive(Clone, Debug)]
pub(super) struct Returned {
    file: PathBuf,
    entries: BTreeMap<String, Entry>,
}

impl Returned {
    /// Reads the file in this folder; a missing one is empty. One that cannot be read is an error:
    /// without it, keys that are elsewhere by now would work here again.
    pub(super) fn load(folder: &Path) -> Result<Self, KeyringError> {
        let file = folder.join(FILE);
        let failed = |source| KeyringError::Read { path: file.clone(), source };
        let entries = match read_text(&file, FILE_BYTES_MAX) {
            Ok(text) => {
                let read: File =
                    serde_json::from_str(&text).map_err(|error| failed(error.into()))?;
                if read.format != FORMAT {
                    let why = format!("format {} is not known", read.format);
                    return Err(failed(io::Error::new(io::ErrorKind::InvalidData, why)));
                }
                read.entries
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(error)),
        };
        let entries = entries.into_iter().map(|entry| (entry.activation.clone(), entry)).collect();
        Ok(Self { file, entries })
    }

    pub(super) fn get(&self, activation: &str) -> Option<&Entry> {
        self.entries.get(activation)
    }

    /// The return of a key that is under way, the latest first.
    pub(super) fn pending(&self, key_no: KeyNo) -> Option<&Entry> {
        self.entries
            .values()
            .filter(|entry| entry.key_no == key_no && entry.is_pending())
            .max_by_key(|entry| entry.at)
    }

    /// Receipts for a key that this server has asked for.
    pub(super) fn receipts(&self, key_no: KeyNo) -> impl Iterator<Item = &str> {
        self.entries
            .values()
            .filter(move |entry| entry.key_no == key_no && entry.was_asked_for)
            .filter_map(|entry| entry.receipt.as_deref())
    }

    /// Keeps an entry in place of what is known of its activation; on disk when this returns.
    pub(super) fn keep(&mut self, entry: Entry) -> Result<(), InstallError> {
        let mut entries = self.entries.clone();
        let is_another = entries.insert(entry.activation.clone(), entry).is_none();
        let pending = entries.values().filter(|entry| entry.is_pending()).count();
        if is_another && (entries.len() > ENTRIES_MAX || pending > PENDING_MAX) {
            return Err(InstallError::TooManyReturns);
        }
        self.write(entries)
    }

    /// Forgets an activation; on disk when this returns.
    pub(super) fn forget(&mut self, activation: &str) -> Result<(), InstallError> {
        if !self.entries.contains_key(activation) {
            return Ok(());
        }
        let mut entries = self.entries.clone();
        entries.remove(activation);
        self.write(entries)
    }

    fn write(&mut self, entries: BTreeMap<String, Entry>) -> Result<(), InstallError> {
        let failed = |source| InstallError::Write { path: self.file.clone(), source };
        let written = File { format: FORMAT, entries: entries.values().cloned().collect() };
        let text = serde_json::to_string_pretty(&written).map_err(|error| failed(error.into()))?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(InstallError::TooManyReturns);
        }
        if let Some(folder) = self.file.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        atomic_file::replace(&self.file, text.as_bytes(), Readers::Owner).map_err(failed)?;
        self.entries = entries;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u32, receipt: Option<&str>) -> Entry {
        Entry {
            activation: format!("a{number}"),
            key_no: KeyNo(number),
            series: KeySeries::from_u16(0x672B),
            at: Utc::from_unix_millis(1_800_000_000_000),
            document: receipt.is_none().then(|| "document".to_owned()),
            receipt: receipt.map(str::to_owned),
            was_asked_for: false,
        }
    }

    #[test]
    fn what_is_kept_is_read_back_and_what_is_forgotten_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut returned = Returned::load(folder.path()).unwrap();
        returned.keep(entry(1, None)).unwrap();
        returned.keep(entry(2, None)).unwrap();
        returned.keep(entry(2, Some("receipt"))).unwrap();
        let mut returned = Returned::load(folder.path()).unwrap();
        assert_eq!(returned.get("a1"), Some(&entry(1, None)));
        assert_eq!(returned.get("a2"), Some(&entry(2, Some("receipt"))));
        assert_eq!(returned.pending(KeyNo(1)), Some(&entry(1, None)));
        assert_eq!(returned.pending(KeyNo(2)), None);
        returned.forget("a1").unwrap();
        assert_eq!(Returned::load(folder.path()).unwrap().get("a1"), None);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn returns_under_way_are_bounded_and_what_is_known_can_still_be_ended() {
        let folder = tempfile::tempdir().unwrap();
        let mut returned = Returned::load(folder.path()).unwrap();
        let all = 0..PENDING_MAX as u32;
        returned.entries = all.map(|no| (format!("a{no}"), entry(no, None))).collect();
        let refused = returned.keep(entry(1000, None));
        assert!(matches!(refused, Err(InstallError::TooManyReturns)), "{refused:?}");
        returned.keep(entry(5, Some("receipt"))).unwrap();
        returned.keep(entry(1000, None)).unwrap();
    }

    #[test]
    fn file_that_cannot_be_read_is_an_error_and_not_an_empty_list() {
        for text in ["", "nonsense", r#"{"Format":2,"Entries":[]}"#] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(FILE), text).unwrap();
            assert!(Returned::load(folder.path()).is_err(), "{text}");
        }
    }
}
