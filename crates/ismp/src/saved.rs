//! The book as it lies on a disk, and as one server tells it to another.
//!
//! Keys of the service stand in it sealed, by whatever the caller seals with; everything else is
//! plain, so that a person can see what is kept.

use std::collections::BTreeMap;

use licence_core::time::Utc;
use serde::{Deserialize, Serialize};

use crate::book::{Book, RECORDS_MAX};
use crate::directory::Directory;
use crate::key::{Inn, StoreKey};
use crate::record::{Source, State, TokenFormat, TokenRecord, Who};
use crate::responsible::Rule;
use crate::secret::SessionKey;

/// Version of the form.
pub const VERSION: u32 = 1;

/// One record.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SavedRecord {
    /// What it is kept under.
    #[serde(flatten)]
    pub key: StoreKey,
    /// The key of the service, sealed.
    pub sealed: String,
    /// `ДействуетДо`.
    pub valid_until: Utc,
    /// For which organisation it was given.
    #[serde(rename = "INN", default, skip_serializing_if = "Option::is_none")]
    pub inn: Option<Inn>,
    /// Form.
    pub format: TokenFormat,
    /// How it came.
    pub source: Source,
    /// How it stands.
    #[serde(default)]
    pub state: State,
    /// Who brought it.
    #[serde(default)]
    pub who: Who,
    /// When it came.
    pub obtained: Utc,
    /// Its generation.
    pub generation: u64,
}

/// The whole book.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SavedBook {
    /// [`VERSION`].
    pub version: u32,
    /// Of the book.
    pub generation: u64,
    /// Organisations and installations.
    #[serde(default)]
    pub directory: Directory,
    /// Rules.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// Reminders that are put off.
    #[serde(default)]
    pub snoozes: BTreeMap<String, Utc>,
    /// Keys.
    #[serde(default)]
    pub records: Vec<SavedRecord>,
}

/// The text is no book.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SavedError {
    /// Made by a later version.
    #[error("version {0} of the form is unknown")]
    Version(u32),
    /// More keys than there can be.
    #[error("more than {RECORDS_MAX} session keys")]
    TooMany,
}

impl SavedRecord {
    /// A record with its key sealed.
    pub fn of(key: &StoreKey, record: &TokenRecord, sealed: String) -> Self {
        Self {
            key: key.clone(),
            sealed,
            valid_until: record.valid_until,
            inn: record.inn.clone(),
            format: record.format,
            source: record.source,
            state: record.state,
            who: record.who.clone(),
            obtained: record.obtained,
            generation: record.generation,
        }
    }

    /// The record, once its key is open.
    pub fn opened(self, token: SessionKey) -> (StoreKey, TokenRecord) {
        let record = TokenRecord {
            token,
            valid_until: self.valid_until,
            inn: self.inn,
            format: self.format,
            source: self.source,
            state: self.state,
            who: self.who,
            obtained: self.obtained,
            generation: self.generation,
        };
        (self.key, record)
    }
}

impl Book {
    /// The book with its keys sealed.
    ///
    /// # Errors
    ///
    /// Those of `seal`.
    pub fn save<E>(
        &self,
        mut seal: impl FnMut(&StoreKey, &SessionKey) -> Result<String, E>,
    ) -> Result<SavedBook, E> {
        let sealed = |(key, record): (&StoreKey, &TokenRecord)| {
            Ok(SavedRecord::of(key, record, seal(key, &record.token)?))
        };
        Ok(SavedBook {
            version: VERSION,
            generation: self.generation,
            directory: self.directory.clone(),
            rules: self.rules.clone(),
            snoozes: self.snoozes.clone(),
            records: self.records.iter().map(sealed).collect::<Result<_, E>>()?,
        })
    }

    /// Reads a book. The second value names the keys that did not open: they are lost.
    ///
    /// # Errors
    ///
    /// For a book of a later version or one that is too large. Organisations and rules that cannot
    /// be are left out rather than making the keys unreachable.
    pub fn open(
        saved: SavedBook,
        mut open: impl FnMut(&StoreKey, &str) -> Option<SessionKey>,
    ) -> Result<(Self, Vec<StoreKey>), SavedError> {
        if saved.version != VERSION {
            return Err(SavedError::Version(saved.version));
        }
        if saved.records.len() > RECORDS_MAX {
            return Err(SavedError::TooMany);
        }
        let mut book = Self::default();
        book.generation = saved.generation;
        if saved.directory.check().is_ok() {
            book.directory = saved.directory;
        }
        book.rules = saved.rules.into_iter().filter(|rule| rule.check().is_ok()).collect();
        book.snoozes = saved.snoozes;
        let mut lost = Vec::new();
        for record in saved.records {
            match open(&record.key, &record.sealed) {
                Some(token) => {
                    let (key, record) = record.opened(token);
                    book.generation = book.generation.max(record.generation);
                    book.records.insert(key, record);
                }
                None => lost.push(record.key),
            }
        }
        Ok((book, lost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::Given;

    fn book() -> Book {
        let mut book = Book::default();
        let key: StoreKey = serde_json::from_str(
            r#"{"Contour":"production","TokenType":"SUZ","Organization":"7707083893","ProductionObject":"one"}"#,
        )
        .unwrap();
        let now: Utc = "2026-11-22T12:00:00Z".parse().unwrap();
        let given = Given {
            token: SessionKey::new("very-secret").unwrap(),
            valid_until: now.plus_days(1),
            inn: None,
            format: TokenFormat::Uuid,
            source: Source::Exchange,
            who: Who { user: "Анна".into(), ..Who::default() },
            asked: now,
            warning: None,
        };
        book.put(&key, given).unwrap();
        book.snooze("Анна", Some(now.plus_days(1)), now);
        book
    }

    fn sealed(key: &StoreKey, token: &SessionKey) -> Result<String, std::convert::Infallible> {
        Ok(format!("{key}:{}", token.reveal().chars().rev().collect::<String>()))
    }

    #[test]
    fn book_comes_back_from_its_text_as_it_was() {
        let book = book();
        let text = serde_json::to_string(&book.save(sealed).unwrap()).unwrap();
        assert!(!text.contains("very-secret"), "{text}");
        let (back, lost) = Book::open(serde_json::from_str(&text).unwrap(), |key, sealed| {
            let own = sealed.strip_prefix(&format!("{key}:"))?;
            SessionKey::new(&own.chars().rev().collect::<String>()).ok()
        })
        .unwrap();
        assert_eq!(lost, []);
        assert_eq!(back.records, book.records);
        assert_eq!((back.generation, &back.snoozes), (book.generation, &book.snoozes));
    }

    #[test]
    fn keys_that_do_not_open_are_named_and_the_rest_stays() {
        let saved = book().save(sealed).unwrap();
        let (back, lost) = Book::open(saved.clone(), |_, _| None).unwrap();
        assert_eq!((lost.len(), back.records.len(), back.snoozes.len()), (1, 0, 1));
        let later = SavedBook { version: VERSION + 1, ..saved };
        assert!(matches!(Book::open(later, |_, _| None), Err(SavedError::Version(2))));
    }
}
