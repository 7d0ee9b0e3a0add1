//! Since when a computer no longer fits, for each level of binding: from what is found and the time
//! to the dates, and the small file in which they outlast a restart.
//!
//! Decides when days of grace begin and when that is forgotten. How many days there are is a
//! licence's matter.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use licence_core::binding::{Binding, BindingLevel, Match, Standing};
use licence_core::time::Utc;
use serde::{Deserialize, Serialize};

use crate::atomic_file::{self, Readers};

/// Format of the file; a file of another format is read as none.
const FORMAT: u32 = 1;

/// Largest file that is read: three levels with a date each, many times over.
const FILE_BYTES_MAX: u64 = 4096;

/// The levels that parts count for, from the one that bears least change.
const LEVELS: [BindingLevel; 3] = [BindingLevel::Strict, BindingLevel::Medium, BindingLevel::Loose];

/// For each level at which too few parts match: when that was first seen.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Changes(BTreeMap<BindingLevel, Utc>);

/// The file.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Kept {
    format: u32,
    changed: BTreeMap<BindingLevel, Utc>,
}

impl Changes {
    /// Takes note of what was found. A level for which enough parts match is forgotten: whoever puts
    /// the old part back has all days again the next time.
    pub fn see(&mut self, found: Match, now: Utc) {
        for level in LEVELS {
            let binding = Binding { level, grace_days: 1 };
            if matches!(binding.standing(found, None, now), Standing::Fits { .. }) {
                self.0.remove(&level);
                continue;
            }
            let at = self.0.entry(level).or_insert(now);
            // A date that lies ahead was written by somebody else, or with a clock that was wrong.
            *at = (*at).min(now);
        }
    }

    /// When it was first seen that too few parts match for a level.
    pub fn at(&self, level: BindingLevel) -> Option<Utc> {
        self.0.get(&level).copied()
    }

    /// The earliest of these dates.
    pub fn first(&self) -> Option<Utc> {
        self.0.values().min().copied()
    }

    /// Reads the file. One that is not there or cannot be read is as if nothing had been seen: the
    /// days of grace begin again, and a server that does not start would help nobody.
    pub fn read(path: &Path) -> Self {
        let mut text = String::new();
        let read =
            File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::default(),
            Err(error) => {
                log::warn!("{} cannot be read: {error}", path.display());
                return Self::default();
            }
        }
        match serde_json::from_str::<Kept>(&text) {
            Ok(Kept { format: FORMAT, changed }) => Self(changed),
            Ok(Kept { format, .. }) => {
                log::warn!("{} has format {format}, which is not known", path.display());
                Self::default()
            }
            Err(error) => {
                log::warn!("{} is damaged: {error}", path.display());
                Self::default()
            }
        }
    }

    /// Writes the file; removes it when there is nothing to remember. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// Those of the disk.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        if self.0.is_empty() {
            return match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let kept = Kept { format: FORMAT, changed: self.0.clone() };
        let text = serde_json::to_vec(&kept).map_err(io::Error::from)?;
        atomic_file::replace(path, &text, Readers::Owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: i64) -> Utc {
        Utc::from_unix_millis(1_800_000_000_000 + day * 86_400_000)
    }

    const fn parts(matching: usize) -> Match {
        Match::Parts { matching, total: 7 }
    }

    #[test]
    fn change_is_dated_by_the_first_look_that_saw_it_and_forgotten_when_the_computer_fits() {
        let mut changes = Changes::default();
        changes.see(parts(7), day(0));
        assert_eq!(changes, Changes::default());
        // Six match: enough for every level. Five: too few for the strict one.
        for (at, matching, strict, medium, loose) in [
            (1, 6, None, None, None),
            (2, 5, Some(2), None, None),
            (3, 5, Some(2), None, None),
            (4, 4, Some(2), Some(4), None),
            (5, 3, Some(2), Some(4), Some(5)),
            (6, 4, Some(2), Some(4), None),
            (7, 7, None, None, None),
            (8, 5, Some(8), None, None),
        ] {
            changes.see(parts(matching), day(at));
            let found = [BindingLevel::Strict, BindingLevel::Medium, BindingLevel::Loose]
                .map(|level| changes.at(level));
            assert_eq!(found, [strict, medium, loose].map(|at| at.map(day)), "day {at}");
        }
        changes.see(Match::Tpm, day(9));
        assert_eq!(changes.first(), None);
    }

    #[test]
    fn date_that_lies_ahead_gives_no_more_days() {
        let mut changes = Changes::default();
        changes.see(parts(4), day(100));
        changes.see(parts(4), day(2));
        assert_eq!(changes.at(BindingLevel::Medium), Some(day(2)));
        changes.see(parts(4), day(50));
        assert_eq!(changes.at(BindingLevel::Medium), Some(day(2)));
    }

    #[test]
    fn dates_outlast_a_restart_and_a_damaged_file_is_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("binding.json");
        assert_eq!(Changes::read(&path), Changes::default());
        let mut changes = Changes::default();
        changes.see(parts(4), day(1));
        changes.write(&path).unwrap();
        assert_eq!(Changes::read(&path), changes);
        for text in ["", "{", "[]", r#"{"Format":2,"Changed":{}}"#, r#"{"Format":1}"#] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(Changes::read(&path), Changes::default(), "{text}");
        }
        Changes::default().write(&path).unwrap();
        assert!(!path.exists());
        Changes::default().write(&path).unwrap();
    }
}
