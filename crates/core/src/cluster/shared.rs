//! What the nodes of a cluster hold in common beside seats: the rules of who gets a seat and the
//! access codes of keys, as they lie in etcd.
//!
//! Decides which version counts (the last one in etcd that can be read), what a change compares, and
//! what became of a change whose answer was lost. It puts nothing in force and never counts: a limit
//! holds at each node for the sessions of that node.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::record::{RecordError, write};
use super::store::{Compare, Entry, Op, Txn, TxnOutcome};
use crate::access_code::CodeDigest;
use crate::key::KeyNo;
use crate::rules::{CheckedRules, Rule, RuleSet};
use crate::time::Utc;

/// Form of these values.
pub const SHARED_FORMAT: u32 = 1;

/// Most bytes of one of these values: the most rules with the longest texts have some 700 000, and
/// etcd takes 1.5 MiB for a whole request.
pub const SHARED_BYTES_MAX: usize = 1024 * 1024;

/// Most keys with an access code: far more keys than one company has.
pub const CODES_MAX: usize = 5000;

/// Longest name of who wrote a value, in characters.
const WRITER_CHARS_MAX: usize = 200;

/// Which of them.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum SharedName {
    /// [`SharedCodes`].
    AccessCodes,
    /// [`SharedRules`].
    Rules,
}

impl SharedName {
    /// Both.
    pub const ALL: [Self; 2] = [Self::AccessCodes, Self::Rules];

    /// Its key below the cluster's prefix.
    pub const fn key(self) -> &'static str {
        match self {
            Self::AccessCodes => "shared/access-codes",
            Self::Rules => "shared/rules",
        }
    }

    /// Which of them a key is; nothing for any other.
    pub fn parse(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.key() == key)
    }
}

/// Who wrote a value, and when, for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Written {
    /// Name of the node.
    pub node: String,
    /// Name of the user or token; empty for the command line.
    pub user: String,
    /// When, by the clock of the node.
    pub at: Utc,
}

impl Written {
    /// Names that are too long are cut.
    pub fn new(node: &str, user: &str, at: Utc) -> Self {
        let cut = |name: &str| name.chars().take(WRITER_CHARS_MAX).collect();
        Self { node: cut(node), user: cut(user), at }
    }

    fn check(self) -> Result<Self, RecordError> {
        let is_long = |name: &str| name.chars().count() > WRITER_CHARS_MAX;
        if is_long(&self.node) || is_long(&self.user) {
            return Err(RecordError::Content("the name of who wrote it is too long"));
        }
        Ok(self)
    }
}

/// `shared/rules`: the rules of all nodes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SharedRules {
    /// Who wrote them.
    pub written: Written,
    /// The rules.
    pub rules: CheckedRules,
}

/// `shared/access-codes`: the access codes of all nodes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SharedCodes {
    /// Who wrote them.
    pub written: Written,
    /// By key.
    pub codes: BTreeMap<KeyNo, CodeDigest>,
}

/// The form of `shared/rules`: that of the file of rules, and who wrote it.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct RulesRecord {
    version: u32,
    node: String,
    user: String,
    at: Utc,
    rules: Vec<Rule>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct CodesRecord {
    version: u32,
    node: String,
    user: String,
    at: Utc,
    codes: BTreeMap<KeyNo, CodeDigest>,
}

/// The member that says how the others are to be read.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Form {
    version: u32,
}

fn read<T: DeserializeOwned>(value: &[u8]) -> Result<T, RecordError> {
    if value.len() > SHARED_BYTES_MAX {
        return Err(RecordError::Content("longer than what nodes share may be"));
    }
    let syntax = |error: serde_json::Error| RecordError::Syntax(error.to_string());
    let form: Form = serde_json::from_slice(value).map_err(syntax)?;
    if form.version != SHARED_FORMAT {
        return Err(RecordError::Content("written by a version that is not understood"));
    }
    serde_json::from_slice(value).map_err(syntax)
}

/// A value that nodes share.
pub trait SharedValue: Sized {
    /// Which one.
    const NAME: SharedName;

    /// Reads the value.
    ///
    /// # Errors
    ///
    /// See [`RecordError`].
    fn read(value: &[u8]) -> Result<Self, RecordError>;

    /// The value; nothing when it is longer than [`SHARED_BYTES_MAX`].
    fn write(&self) -> Option<Vec<u8>>;

    /// Who wrote it.
    fn written(&self) -> &Written;
}

impl SharedValue for SharedRules {
    const NAME: SharedName = SharedName::Rules;

    fn read(value: &[u8]) -> Result<Self, RecordError> {
        let RulesRecord { node, user, at, rules, .. } = read(value)?;
        let rules = RuleSet { rules }.check();
        let rules = rules.map_err(|error| RecordError::Syntax(error.to_string()))?;
        Ok(Self { written: Written { node, user, at }.check()?, rules })
    }

    fn write(&self) -> Option<Vec<u8>> {
        let Written { node, user, at } = self.written.clone();
        let rules = self.rules.set().rules.clone();
        fitting(write(&RulesRecord { version: SHARED_FORMAT, node, user, at, rules }))
    }

    fn written(&self) -> &Written {
        &self.written
    }
}

impl SharedValue for SharedCodes {
    const NAME: SharedName = SharedName::AccessCodes;

    fn read(value: &[u8]) -> Result<Self, RecordError> {
        let CodesRecord { node, user, at, codes, .. } = read(value)?;
        if codes.len() > CODES_MAX {
            return Err(RecordError::Content("more access codes than there may be"));
        }
        Ok(Self { written: Written { node, user, at }.check()?, codes })
    }

    fn write(&self) -> Option<Vec<u8>> {
        let Written { node, user, at } = self.written.clone();
        let codes = self.codes.clone();
        let is_too_many = codes.len() > CODES_MAX;
        let value = write(&CodesRecord { version: SHARED_FORMAT, node, user, at, codes });
        fitting(value).filter(|_| !is_too_many)
    }

    fn written(&self) -> &Written {
        &self.written
    }
}

fn fitting(value: Vec<u8>) -> Option<Vec<u8>> {
    (value.len() <= SHARED_BYTES_MAX).then_some(value)
}

/// What is known of a value: the last one that could be read, and what lies in etcd.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Latest<T> {
    good: Option<(Arc<T>, i64)>,
    revision: i64,
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self { good: None, revision: 0 }
    }
}

impl<T: SharedValue> Latest<T> {
    /// What counts, and the revision that wrote it: the last value that could be read. One that has
    /// been damaged or deleted since goes on counting, because nobody has said what should instead.
    pub fn counting(&self) -> Option<(&Arc<T>, i64)> {
        self.good.as_ref().map(|(value, revision)| (value, *revision))
    }

    /// The revision that a change is made from; 0 when there is nothing in etcd. A damaged value may
    /// be replaced like any other.
    pub const fn revision(&self) -> i64 {
        self.revision
    }

    /// Takes in what lies in etcd.
    ///
    /// # Errors
    ///
    /// See [`RecordError`]; what counted before goes on counting.
    pub fn put(&mut self, entry: &Entry) -> Result<(), RecordError> {
        self.revision = entry.mod_revision;
        self.good = Some((Arc::new(T::read(&entry.value)?), entry.mod_revision));
        Ok(())
    }

    /// It is no longer in etcd.
    pub const fn delete(&mut self) {
        self.revision = 0;
    }
}

/// What is known of all that nodes share.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Shared {
    /// The access codes.
    pub codes: Latest<SharedCodes>,
    /// The rules.
    pub rules: Latest<SharedRules>,
}

impl Shared {
    /// Takes in what lies in etcd.
    ///
    /// # Errors
    ///
    /// See [`RecordError`].
    pub fn put(&mut self, name: SharedName, entry: &Entry) -> Result<(), RecordError> {
        match name {
            SharedName::AccessCodes => self.codes.put(entry),
            SharedName::Rules => self.rules.put(entry),
        }
    }

    pub(super) const fn delete(&mut self, name: SharedName) {
        match name {
            SharedName::AccessCodes => self.codes.delete(),
            SharedName::Rules => self.rules.delete(),
        }
    }

    pub(super) const fn revision(&self, name: SharedName) -> i64 {
        match name {
            SharedName::AccessCodes => self.codes.revision(),
            SharedName::Rules => self.rules.revision(),
        }
    }
}

/// The transaction of a change: it loses when the value is another than the one that the change was
/// made from.
pub fn change(name: SharedName, from: i64, value: Vec<u8>) -> Txn {
    let key = name.key().to_owned();
    Txn {
        compare: vec![Compare::Modified { key: key.clone(), revision: from }],
        then: vec![Op::Put { key, value, lease: None }],
    }
}

/// What became of a change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Changed {
    /// It is in etcd.
    Done {
        /// By this revision.
        revision: i64,
    },
    /// Somebody else was faster: what there is was never looked at.
    Lost,
    /// Nobody knows; it may still come.
    Unconfirmed,
}

impl Changed {
    /// What follows from the outcome alone; nothing when etcd must be read for it.
    pub const fn of(outcome: TxnOutcome) -> Option<Self> {
        match outcome {
            TxnOutcome::Succeeded { revision } => Some(Self::Done { revision }),
            TxnOutcome::Failed => Some(Self::Lost),
            TxnOutcome::Unknown => None,
        }
    }

    /// What follows from what lies in etcd, after an answer that was lost.
    pub fn found(from: i64, wanted: &[u8], there: Option<&Entry>) -> Self {
        match there {
            // Who wrote it and when is part of the value, so it is nobody else's.
            Some(entry) if entry.value == wanted => Self::Done { revision: entry.mod_revision },
            Some(entry) if entry.mod_revision == from => Self::Unconfirmed,
            None if from == 0 => Self::Unconfirmed,
            Some(_) | None => Self::Lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> Written {
        Written::new("north", "admin", Utc::from_unix_millis(0))
    }

    fn rules(name: &str) -> SharedRules {
        let text = format!(r#"{{"Rules":[{{"Name":"{name}","Effect":"deny","User":"x"}}]}}"#);
        let rules = RuleSet::from_json(&text).unwrap().check().unwrap();
        SharedRules { written: written(), rules }
    }

    fn codes() -> SharedCodes {
        let code = CodeDigest::new("x7", [0; 16]);
        SharedCodes { written: written(), codes: BTreeMap::from([(KeyNo(7), code)]) }
    }

    fn entry(value: Vec<u8>, revision: i64) -> Entry {
        let key = SharedName::Rules.key().to_owned();
        Entry { key, value, create_revision: 1, mod_revision: revision, lease: 0 }
    }

    #[test]
    fn values_have_the_published_form() {
        let text = String::from_utf8(rules("a").write().unwrap()).unwrap();
        assert_eq!(
            text,
            r#"{"Version":1,"Node":"north","User":"admin","At":"1970-01-01T00:00:00.000Z","Rules":[{"Name":"a","Effect":"deny","Seats":null,"Enabled":true,"KeyID":null,"User":"x","Computer":null,"Subnet":null,"Infobase":null,"Application":null,"Comment":""}]}"#
        );
        assert_eq!(SharedRules::read(text.as_bytes()), Ok(rules("a")));
        let value = codes().write().unwrap();
        let text = String::from_utf8(value.clone()).unwrap();
        let start = r#"{"Version":1,"Node":"north","User":"admin","At":"1970-01-01T00:00:00.000Z","Codes":{"7":"AAAAAAAAAAAAAAAAAAAAAA."#;
        assert!(text.starts_with(start) && !text.contains("x7"), "{text}");
        assert_eq!(SharedCodes::read(&value), Ok(codes()));
    }

    #[test]
    fn value_that_does_not_count_says_why() {
        let good = String::from_utf8(rules("a").write().unwrap()).unwrap();
        for (text, part) in [
            (String::new(), "JSON"),
            ("{}".to_owned(), "Version"),
            (good.replace("\"Version\":1", "\"Version\":2"), "not understood"),
            (good.replace("deny", "ban"), "ban"),
            (good.replace("\"deny\"", "\"limit\""), "Seats"),
            (good.replace("north", &"n".repeat(201)), "too long"),
            (" ".repeat(SHARED_BYTES_MAX) + &good, "longer"),
        ] {
            let error = SharedRules::read(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{part}: {error}");
        }
        let code = codes().codes[&KeyNo(7)];
        let many = (0..=CODES_MAX).map(|no| (KeyNo(u32::try_from(no).unwrap()), code)).collect();
        let many = SharedCodes { written: written(), codes: many };
        assert_eq!(many.write(), None);
        let torso = br#"{"Version":1,"Node":"","User":"","At":"1970-01-01T00:00:00.000Z","Codes":{"7":"x"}}"#;
        assert!(SharedCodes::read(torso).is_err());
    }

    #[test]
    fn most_rules_with_the_longest_texts_fit() {
        let text = |no: usize| format!("{no:03}{}", "я".repeat(97));
        let long = || Some("я".repeat(crate::rules::TEXT_BYTES_MAX / 2));
        let rules = (0..crate::rules::RULES_MAX).map(|no| Rule {
            name: text(no),
            effect: crate::rules::RuleEffect::Deny,
            seats: None,
            enabled: true,
            key_id: None,
            user: long(),
            computer: long(),
            subnet: None,
            infobase: long(),
            application: long(),
            comment: "я".repeat(crate::rules::TEXT_BYTES_MAX / 2),
        });
        let rules = RuleSet { rules: rules.collect() }.check().unwrap();
        assert!(SharedRules { written: written(), rules }.write().is_some());
    }

    #[test]
    fn last_value_that_could_be_read_counts() {
        let mut latest = Latest::<SharedRules>::default();
        assert_eq!((latest.counting(), latest.revision()), (None, 0));
        latest.put(&entry(rules("a").write().unwrap(), 5)).unwrap();
        let counting =
            |latest: &Latest<SharedRules>| latest.counting().map(|(v, at)| ((**v).clone(), at));
        assert_eq!((counting(&latest), latest.revision()), (Some((rules("a"), 5)), 5));
        assert!(latest.put(&entry(b"torso".to_vec(), 6)).is_err());
        assert_eq!((counting(&latest), latest.revision()), (Some((rules("a"), 5)), 6));
        latest.delete();
        assert_eq!((counting(&latest), latest.revision()), (Some((rules("a"), 5)), 0));
        latest.put(&entry(rules("b").write().unwrap(), 8)).unwrap();
        assert_eq!((counting(&latest), latest.revision()), (Some((rules("b"), 8)), 8));
    }

    #[test]
    fn change_compares_what_it_was_made_from() {
        let txn = change(SharedName::Rules, 5, b"x".to_vec());
        let key = "shared/rules".to_owned();
        assert_eq!(txn.compare, [Compare::Modified { key: key.clone(), revision: 5 }]);
        assert_eq!(txn.then, [Op::Put { key, value: b"x".to_vec(), lease: None }]);
    }

    #[test]
    fn lost_answer_is_judged_by_what_lies_in_etcd() {
        assert_eq!(
            Changed::of(TxnOutcome::Succeeded { revision: 9 }),
            Some(Changed::Done { revision: 9 })
        );
        assert_eq!(Changed::of(TxnOutcome::Failed), Some(Changed::Lost));
        assert_eq!(Changed::of(TxnOutcome::Unknown), None);
        let there = |value: &str, revision| Some(entry(value.as_bytes().to_vec(), revision));
        for (from, there, expected) in [
            (5, there("mine", 7), Changed::Done { revision: 7 }),
            (5, there("old", 5), Changed::Unconfirmed),
            (5, there("other", 6), Changed::Lost),
            (5, None, Changed::Lost),
            (0, None, Changed::Unconfirmed),
            (0, there("other", 6), Changed::Lost),
        ] {
            let found = Changed::found(from, b"mine", there.as_ref());
            assert_eq!(found, expected, "{from} {there:?}");
        }
    }
}
