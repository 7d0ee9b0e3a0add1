//! Why settings were refused, in both languages, with the line.
//!
//! No text of this file repeats a password.

use std::io;
use std::path::PathBuf;

use licence_core::language::Language;

/// What a key takes, for people.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Expected {
    /// In English, after "expected".
    pub english: &'static str,
    /// In Russian, after «ожидается».
    pub russian: &'static str,
}

/// Why settings were refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file was there and is gone while the server runs.
    #[error("{path} is gone; the settings read last stay in force")]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// The file is there and could not be read.
    #[error("reading {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not an ini file in UTF-8.
    #[error("{}: {english}", place(.path.display(), *.line))]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: Option<usize>,
        /// What is wrong, in English.
        english: String,
        /// What is wrong, in Russian.
        russian: String,
    },
    /// Larger than any conf file needs to be.
    #[error("{path} is larger than {bytes_max} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        bytes_max: u64,
    },
    /// A value is not what the key takes.
    #[error(transparent)]
    Value(Box<WrongValue>),
}

/// A value is not what its key takes.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}: [{section}] {key}={value}: expected {}", place(.file, *.line), .expected.english)]
pub struct WrongValue {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: Option<usize>,
    /// The section.
    pub section: String,
    /// The key.
    pub key: String,
    /// The value; asterisks in place of a secret.
    pub value: String,
    /// What is expected.
    pub expected: Expected,
}

impl ConfigError {
    /// The whole text, with its cause.
    pub fn text(&self, language: Language) -> String {
        let english = || licence_core::causes::with_causes(self);
        language.pick(&self.russian(), &english()).to_owned()
    }

    fn russian(&self) -> String {
        match self {
            Self::Gone { path } => format!(
                "{}: файла больше нет; действуют настройки, прочитанные последними",
                path.display()
            ),
            Self::Read { path, source } => {
                format!("{}: файл не читается: {source}", path.display())
            }
            Self::Syntax { path, line, russian, .. } => {
                format!("{}: {russian}", place(path.display(), *line))
            }
            Self::TooLarge { path, bytes_max } => {
                format!("{}: файл больше {bytes_max} байт", path.display())
            }
            Self::Value(wrong) => format!(
                "{}: [{}] {}={}: ожидается {}",
                place(&wrong.file, wrong.line),
                wrong.section,
                wrong.key,
                wrong.value,
                wrong.expected.russian
            ),
        }
    }
}

/// `licenceserver.conf:17`
fn place(file: impl std::fmt::Display, line: Option<usize>) -> String {
    match line {
        Some(line) => format!("{file}:{line}"),
        None => file.to_string(),
    }
}
