//! Why the data cannot be used, in both languages, for anybody who asks.
//!
//! Says what is broken and names no file: the log does. Which reason it is, is found where the
//! server failed; nothing is decided here.

use licence_core::language::Language;

use crate::health::Check;
use crate::identity::{LockedSeal, words};

/// Why the server is closed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reason {
    /// The database cannot be read back and cannot be put aside.
    Damaged,
    /// The disk is full or mounted read-only: what the check of the disk found.
    Disk {
        /// In Russian, without a full stop.
        russian: String,
        /// In English, without a full stop.
        english: String,
    },
    /// The database has no room to grow.
    Full,
    /// The identity of the server cannot be read.
    Identity,
    /// The identity is sealed to another computer, secret or TPM.
    IdentityLocked(Box<LockedSeal>),
    /// The journal failed while the server ran.
    Journal,
    /// The licences or the series cannot be read.
    Keys,
    /// Another program keeps the database locked.
    Locked,
    /// A later program wrote the database.
    Newer {
        /// Version in the file.
        found: i64,
        /// Newest version that this program knows.
        known: i64,
    },
    /// The database or its folder may not be written.
    NotWritable,
    /// The address or the port cannot be used.
    Port,
    /// Another server has the data.
    SecondServer,
    /// The settings.
    Settings,
    /// What the operating system, SQLite or the TLS library says, which knows one language.
    System(String),
    /// The journal takes nothing after it has failed.
    Unproven,
}

impl Reason {
    /// The reason found by the check of the disk.
    pub fn of_disk(check: &Check) -> Self {
        let plain = |language| check.text(language).trim_end_matches('.').to_owned();
        Self::Disk { russian: plain(Language::Russian), english: plain(Language::English) }
    }

    /// The text for people, without a full stop, to be put behind a colon.
    pub fn text(&self, language: Language) -> String {
        let (russian, english) = match self {
            Self::Damaged => (
                "база данных повреждена, и её не удаётся отложить",
                "the database is damaged and cannot be put aside",
            ),
            Self::Disk { russian, english } => (russian.as_str(), english.as_str()),
            Self::Full => ("на диске нет места для базы данных", "the disk is full"),
            Self::Identity => (
                "не читается ключ сервера (identity.seal)",
                "the key of the server (identity.seal) cannot be read",
            ),
            Self::IdentityLocked(locked) => return words::locked(locked, language),
            Self::Journal => ("сбой записи журнала", "the journal cannot be written"),
            Self::Keys => (
                "не читаются файлы лицензий или серии",
                "the licences or the series cannot be read",
            ),
            Self::Locked => (
                "база данных заблокирована другой программой",
                "the database is locked by another program",
            ),
            Self::Newer { found, known } => {
                return match language {
                    Language::Russian => format!(
                        "база данных записана более новой программой (версия {found}, известны до \
                         {known})"
                    ),
                    Language::English => format!(
                        "the database was written by a later program (version {found}, known up to \
                         {known})"
                    ),
                };
            }
            Self::NotWritable => (
                "в базу данных или её папку нельзя писать",
                "the database or its folder cannot be written",
            ),
            Self::Port => (
                "адрес или порт сервера занят или недоступен",
                "the address or port of the server is taken or cannot be used",
            ),
            Self::SecondServer => (
                "с этими данными работает другой сервер",
                "another server is running on the same data",
            ),
            Self::Settings => ("ошибка в настройках", "the settings cannot be used"),
            Self::System(text) => {
                return match language {
                    Language::Russian => format!("ошибка системы ({text})"),
                    Language::English => text.clone(),
                };
            }
            Self::Unproven => {
                ("запись в базу данных пока невозможна", "the database cannot be written yet")
            }
        };
        language.pick(russian, english).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use licence_core::binding::{PartKind, PartState};

    use super::*;
    use crate::health::checks;
    use crate::host::Volume;
    use crate::identity::{Protection, WhyLocked};

    #[test]
    fn every_reason_is_told_in_either_language_alone() {
        let disk = checks::disk(Ok(Volume { free_bytes: 0, is_read_only: false }));
        let reasons = [
            Reason::Damaged,
            Reason::of_disk(&disk),
            Reason::Full,
            Reason::Identity,
            Reason::IdentityLocked(Box::new(LockedSeal {
                protection: Protection::Parts,
                parts: [PartKind::Board, PartKind::Disk, PartKind::MachineId]
                    .map(|kind| PartState { kind, matches: kind == PartKind::Disk })
                    .to_vec(),
                needed: 2,
                unreadable: vec![PartKind::Board],
                why: WhyLocked::Parts,
            })),
            Reason::Journal,
            Reason::Keys,
            Reason::Locked,
            Reason::Newer { found: 99, known: 3 },
            Reason::NotWritable,
            Reason::Port,
            Reason::SecondServer,
            Reason::Settings,
            Reason::Unproven,
        ];
        let is_cyrillic = |c: char| ('\u{400}'..='\u{4ff}').contains(&c);
        for reason in reasons {
            let english = reason.text(Language::English);
            assert!(!english.contains(is_cyrillic) && !english.ends_with('.'), "{english}");
            let russian = reason.text(Language::Russian).replace("identity.seal", "");
            let is_russian = !russian.contains(|c: char| c.is_ascii_alphabetic());
            assert!(is_russian && !russian.ends_with('.'), "{russian}");
        }
    }
}
