//! What is kept of each activation centre between two rounds: the mark that it gave last, and when it
//! answered last.
//!
//! Kept in one small file beside the settings. It is worth no more than it says: without it a centre
//! cannot tell this server from a copy of it for one round, and no key depends on it. So a file that
//! cannot be read or written is logged and gone on without.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use licence_core::activation_request::audience;
use licence_core::time::Utc;
use serde::{Deserialize, Serialize};

use crate::atomic_file::{self, Readers};

/// Version of the file's form.
const FORMAT: u32 = 1;

/// Centres that are remembered: a customer has the vendors of some configurations.
const CENTRES_MAX: usize = 100;

/// Longest mark. Ours have 32 hex digits; a longer text is no mark but a burden on each request.
const MARK_CHARS_MAX: usize = 128;

/// Largest file that is read: 100 centres of some 300 bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", default)]
struct Known {
    #[serde(skip_serializing_if = "Option::is_none")]
    mark: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answered: Option<Utc>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct File {
    format: u32,
    /// Thumbprint of the identity that the marks were given to: another one begins anew.
    identity: String,
    centres: BTreeMap<String, Known>,
}

/// The centres, by their [`audience`].
#[derive(Debug)]
pub(super) struct Centres {
    file: PathBuf,
    identity: String,
    known: Mutex<BTreeMap<String, Known>>,
}

impl Centres {
    /// Reads what is kept for the identity with this thumbprint.
    pub(super) fn load(file: PathBuf, identity: String) -> Self {
        let known = match read(&file) {
            Ok(Some(read)) if read.format == FORMAT && read.identity == identity => read.centres,
            Ok(_) => BTreeMap::new(),
            Err(error) => {
                log::warn!("{} is left alone: {error}", file.display());
                BTreeMap::new()
            }
        };
        Self { file, identity, known: Mutex::new(known) }
    }

    /// The last mark of the centre at this address.
    pub(super) fn mark(&self, centre: &str) -> Option<String> {
        self.known().get(&audience(centre)?)?.mark.clone()
    }

    /// When the centre at this address answered last.
    pub(super) fn answered_at(&self, centre: &str) -> Option<Utc> {
        self.known().get(&audience(centre)?)?.answered
    }

    /// When any of them answered last.
    pub(super) fn last_answer(&self) -> Option<Utc> {
        self.known().values().filter_map(|known| known.answered).max()
    }

    /// Keeps what an answer of this centre brought. Blocks on the disk.
    pub(super) fn answered(&self, centre: &str, mark: Option<String>, utc: Utc) {
        let Some(name) = audience(centre) else { return };
        let mark = mark.filter(|mark| is_mark(mark));
        let mut centres = self.known();
        if centres.len() >= CENTRES_MAX && !centres.contains_key(&name) {
            let oldest = centres.iter().min_by_key(|(_, known)| known.answered);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                centres.remove(&oldest);
            }
        }
        let known = centres.entry(name).or_default();
        known.answered = Some(utc);
        // A centre that gives no mark any more wants none to be shown.
        known.mark = mark;
        let file = File {
            format: FORMAT,
            identity: self.identity.clone(),
            centres: BTreeMap::clone(&centres),
        };
        // Under the lock, so that the later of two answers is what stays.
        if let Err(error) = write(&self.file, &file) {
            log::warn!("{} cannot be written: {error}", self.file.display());
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_mark(mark: &str) -> bool {
    !mark.is_empty()
        && mark.len() <= MARK_CHARS_MAX
        && mark.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn read(file: &Path) -> io::Result<Option<File>> {
    let opened = match fs::File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut text = String::new();
    opened.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(Some(serde_json::from_str(&text)?))
}

fn write(path: &Path, file: &File) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    atomic_file::replace(path, serde_json::to_string_pretty(file)?.as_bytes(), Readers::Owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Utc {
        Utc::from_unix_millis(1_800_000_000_000)
    }

    #[test]
    fn mark_and_time_of_an_answer_are_read_back_for_the_same_centre_and_identity() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("3.0/centres.json");
        let centres = Centres::load(file.clone(), "one".into());
        assert_eq!((centres.mark("https://a.example"), centres.last_answer()), (None, None));
        centres.answered("https://A.example:443/", Some("M1".into()), now());
        centres.answered("http://b.example", None, now().plus_days(1));
        let again = Centres::load(file.clone(), "one".into());
        assert_eq!(again.mark("https://a.example/"), Some("M1".into()));
        assert_eq!(again.mark("http://a.example"), None, "another centre");
        assert_eq!(again.answered_at("https://a.example"), Some(now()));
        assert_eq!(again.last_answer(), Some(now().plus_days(1)));
        let other = Centres::load(file, "two".into());
        assert_eq!(other.mark("https://a.example"), None, "another identity");
    }

    #[test]
    fn strange_mark_is_not_kept_and_the_answer_counts() {
        let folder = tempfile::tempdir().unwrap();
        let centres = Centres::load(folder.path().join("c.json"), "one".into());
        for mark in ["", "a b", "\"", &"A".repeat(MARK_CHARS_MAX + 1)] {
            centres.answered("http://a.example", Some(mark.to_owned()), now());
            assert_eq!(centres.mark("http://a.example"), None, "{mark}");
            assert_eq!(centres.answered_at("http://a.example"), Some(now()));
        }
    }

    #[test]
    fn damaged_file_is_gone_on_without_and_the_oldest_centre_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.json");
        fs::write(&file, "{nonsense").unwrap();
        let centres = Centres::load(file, "one".into());
        for number in 0..=CENTRES_MAX {
            let at = now().plus_millis(number as i64);
            centres.answered(&format!("http://c{number}.example"), Some("M".into()), at);
        }
        assert_eq!(centres.mark("http://c0.example"), None);
        assert_eq!(centres.mark("http://c1.example"), Some("M".into()));
        assert_eq!(centres.known().len(), CENTRES_MAX);
    }
}
