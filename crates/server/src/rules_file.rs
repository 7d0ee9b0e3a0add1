//! The file of rules: read at start, written whole when rules change, with a copy of the last good one
//! beside it.
//!
//! What rules say is the core's business. A file that cannot be read never stops the server and never
//! frees anybody from a rule: the copy stands in, and the reason is told until the file is right.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use licence_core::rules::{CheckedRules, RuleSet, RulesError};

use crate::atomic_file::{self, Readers};

/// Largest file that is read, in bytes: the most rules with the longest texts, each letter written as
/// an escape, stay below.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Copies of a server's own rules at most: each is of another time that it joined a cluster.
const FORMER_MAX: usize = 100;

/// Why the file of rules could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RulesFileError {
    /// The file could not be read.
    #[error("reading {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What it says cannot be put in force.
    #[error("the rules in {path}")]
    Rules {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: RulesError,
    },
    /// The file could not be written.
    #[error("writing {path}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Where the rules are kept, and what is wrong with the file if it is not the one in force.
#[derive(Debug)]
pub struct RulesFile {
    path: PathBuf,
    problem: Option<String>,
    /// Whether the rules lie elsewhere, and the file is a copy of them.
    is_copy: bool,
}

impl RulesFile {
    /// Reads the rules to start with: of the file, or of the copy of the last good one when the file
    /// cannot be used. No file means no rules. Blocks on the disk.
    pub fn open(path: PathBuf) -> (Self, CheckedRules) {
        let mut file = Self { path, problem: None, is_copy: false };
        let rules = match file.read() {
            Ok(rules) => rules,
            Err(error) => file.last_good(&error),
        };
        (file, rules)
    }

    /// Reads the file again. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// See [`RulesFileError`]; then the rules in force should stay, and [`Self::problem`] tells why.
    pub fn read(&mut self) -> Result<CheckedRules, RulesFileError> {
        let rules = read_rules(&self.path).inspect_err(|error| {
            self.problem = Some(licence_core::causes::with_causes(error));
        })?;
        self.problem = None;
        if let Some(rules) = &rules {
            self.keep_copy(rules.set());
        } else {
            self.remove_copy();
        }
        Ok(rules.unwrap_or_default())
    }

    /// Writes rules; they are on disk when this returns. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// See [`RulesFileError`]; the file is as it was.
    pub fn write(&mut self, rules: &RuleSet) -> Result<(), RulesFileError> {
        let write = |source| RulesFileError::Write { path: self.path.clone(), source };
        let text = text_of(rules).map_err(write)?;
        atomic_file::replace(&self.path, text.as_bytes(), Readers::Anybody).map_err(write)?;
        self.problem = None;
        self.keep_copy(rules);
        Ok(())
    }

    /// Writes rules that are in force whatever becomes of the file: it is a copy of what lies
    /// elsewhere. Blocks on the disk.
    pub fn keep(&mut self, rules: &RuleSet) {
        self.is_copy = true;
        if let Err(error) = self.write(rules) {
            let shown = licence_core::causes::with_causes(&error);
            log::error!("the rules of the cluster are in force, but not in their file: {shown}");
            self.problem = Some(shown);
        }
    }

    /// Whether the file is a copy of what lies elsewhere.
    pub const fn is_copy(&self) -> bool {
        self.is_copy
    }

    /// Why the file is not what is in force, if so.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    fn last_good(&mut self, error: &RulesFileError) -> CheckedRules {
        let shown = licence_core::causes::with_causes(error);
        let copy = self.copy_path();
        let (rules, instead) = match read_rules(&copy) {
            Ok(Some(rules)) => {
                let count = rules.set().rules.len();
                (rules, format!("the last good {count} rules of {} are in force", copy.display()))
            }
            Ok(None) => (CheckedRules::default(), "no rules are in force".to_owned()),
            Err(error) => {
                let why = licence_core::causes::with_causes(&error);
                (CheckedRules::default(), format!("no rules are in force: {why}"))
            }
        };
        log::error!("{shown}; {instead}");
        self.problem = Some(format!("{shown}; {instead}"));
        rules
    }

    fn copy_path(&self) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".last");
        self.path.with_file_name(name)
    }

    /// The copy is for the day when the file is broken by hand: without it the server still runs, so
    /// a failure is only told.
    fn keep_copy(&self, rules: &RuleSet) {
        let copy = self.copy_path();
        let written = text_of(rules).and_then(|text| {
            if fs::read(&copy).is_ok_and(|bytes| bytes == text.as_bytes()) {
                return Ok(());
            }
            atomic_file::replace(&copy, text.as_bytes(), Readers::Anybody)
        });
        if let Err(error) = written {
            log::warn!("no copy of the rules was written, file={}, {error}", copy.display());
        }
    }

    /// Whoever takes the file away wants no rules: an old copy must not bring them back.
    fn remove_copy(&self) {
        match fs::remove_file(self.copy_path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::warn!("the old copy of the rules was not removed: {error}");
            }
            _ => {}
        }
    }
}

/// Reads the rules of a file; none when there is no file. Blocks on the disk.
///
/// # Errors
///
/// See [`RulesFileError`].
pub fn read(path: &Path) -> Result<CheckedRules, RulesFileError> {
    Ok(read_rules(path)?.unwrap_or_default())
}

/// Whether a file holds these rules; no file holds none. Blocks on the disk.
pub fn holds(path: &Path, rules: &RuleSet) -> bool {
    read(path).is_ok_and(|found| found.set() == rules)
}

/// Copies the file of a server's own rules, as it is, beside it before a cluster's take its place;
/// nothing when there is no file. Never over another copy. Blocks on the disk.
///
/// # Errors
///
/// Those of the disk.
pub fn keep_former(path: &Path) -> io::Result<Option<PathBuf>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    for no in 1..=FORMER_MAX {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".before-cluster");
        if no > 1 {
            name.push(format!("-{no}"));
        }
        let kept = path.with_file_name(name);
        match fs::read(&kept) {
            Ok(other) if other == bytes => return Ok(Some(kept)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                atomic_file::replace(&kept, &bytes, Readers::Anybody)?;
                return Ok(Some(kept));
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other(format!("there are {FORMER_MAX} copies already")))
}

fn text_of(rules: &RuleSet) -> io::Result<String> {
    let mut text = serde_json::to_string_pretty(rules)?;
    text.push('\n');
    Ok(text)
}

fn read_rules(path: &Path) -> Result<Option<CheckedRules>, RulesFileError> {
    let read = |source| RulesFileError::Read { path: path.to_owned(), source };
    let rules = |source| RulesFileError::Rules { path: path.to_owned(), source };
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(read(error)),
    };
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(read)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        let reason = format!("larger than {FILE_BYTES_MAX} bytes");
        return Err(read(io::Error::new(io::ErrorKind::InvalidData, reason)));
    }
    RuleSet::from_json(&text).and_then(RuleSet::check).map(Some).map_err(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"{"Rules":[
        {"Name":"Гости","Effect":"limit","Seats":2,"User":"гость*"},
        {"Name":"Склад","Effect":"deny","Infobase":"склад"}]}"#;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("licence.rules");
        (folder, path)
    }

    #[test]
    fn no_file_means_no_rules() {
        let (_folder, path) = folder();
        let (file, rules) = RulesFile::open(path);
        assert!(rules.is_empty() && file.problem().is_none());
    }

    #[test]
    fn written_rules_are_read_back() {
        let (_folder, path) = folder();
        let set = RuleSet::from_json(TWO).unwrap();
        let (mut file, _) = RulesFile::open(path.clone());
        file.write(&set).unwrap();
        assert!(fs::read_to_string(&path).unwrap().contains("\n  \"Rules\": [\n"));
        assert_eq!(RulesFile::open(path).1.set(), &set);
    }

    #[test]
    fn broken_file_leaves_the_last_good_rules_in_force_and_says_why() {
        let (_folder, path) = folder();
        fs::write(&path, TWO).unwrap();
        let (_, good) = RulesFile::open(path.clone());
        for broken in [
            "{".to_owned(),
            TWO.replace("limit", "ban"),
            TWO.replace("\"Seats\":2,", ""),
            String::new(),
        ] {
            fs::write(&path, &broken).unwrap();
            let (file, rules) = RulesFile::open(path.clone());
            assert_eq!(rules, good, "{broken}");
            assert!(file.problem().unwrap().contains("licence.rules"), "{:?}", file.problem());
            assert_eq!(fs::read_to_string(&path).unwrap(), broken, "it is the administrator's");
        }
        let (file, _) = RulesFile::open(path.clone());
        drop(file);
        fs::write(&path, TWO.replace("\"Seats\":2,", "")).unwrap();
        let (file, _) = RulesFile::open(path);
        let problem = file.problem().unwrap();
        assert!(problem.contains("Гости") && problem.contains("Seats"), "{problem}");
    }

    #[test]
    fn broken_file_without_a_copy_means_no_rules_and_says_so() {
        let (_folder, path) = folder();
        fs::write(&path, [0xFF, 0xFE]).unwrap();
        let (mut file, rules) = RulesFile::open(path.clone());
        assert!(rules.is_empty());
        assert!(file.problem().unwrap().contains("no rules are in force"));
        file.write(&RuleSet::from_json(TWO).unwrap()).unwrap();
        assert_eq!(file.problem(), None);
        assert_eq!(RulesFile::open(path).1.set().rules.len(), 2);
    }

    #[test]
    fn rules_taken_away_by_hand_do_not_come_back() {
        let (_folder, path) = folder();
        fs::write(&path, TWO).unwrap();
        drop(RulesFile::open(path.clone()));
        fs::remove_file(&path).unwrap();
        assert!(RulesFile::open(path.clone()).1.is_empty());
        fs::write(&path, "{").unwrap();
        assert!(RulesFile::open(path).1.is_empty());
    }

    #[test]
    fn own_rules_are_kept_beside_under_names_of_their_own() {
        let (folder, path) = folder();
        assert_eq!(keep_former(&path).unwrap(), None);
        let beside = |name: &str| Some(folder.path().join(name));
        for (text, name) in [
            (TWO, "licence.rules.before-cluster"),
            (TWO, "licence.rules.before-cluster"),
            ("{", "licence.rules.before-cluster-2"),
            ("", "licence.rules.before-cluster-3"),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(keep_former(&path).unwrap(), beside(name), "{text}");
            assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), text);
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
    }

    #[test]
    fn copy_of_rules_that_lie_elsewhere_needs_no_file_to_be_in_force() {
        let (folder, path) = folder();
        let set = RuleSet::from_json(TWO).unwrap();
        let (mut file, _) = RulesFile::open(path.clone());
        file.keep(&set);
        assert!(file.is_copy() && file.problem().is_none() && holds(&path, &set));
        // A folder in its place: it cannot be written.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        fs::write(path.join("x"), "").unwrap();
        file.keep(&set);
        assert!(file.problem().unwrap().contains("licence.rules"), "{:?}", file.problem());
        drop(folder);
    }

    #[test]
    fn file_that_is_too_large_is_not_read() {
        let (_folder, path) = folder();
        fs::write(&path, " ".repeat(FILE_BYTES_MAX as usize + 1)).unwrap();
        let (file, _) = RulesFile::open(path);
        assert!(file.problem().unwrap().contains("larger than"), "{:?}", file.problem());
    }
}
