//! Why a file of the folder cannot be used, in both languages.
//!
//! Words only; what is wrong is found in [`super::scan`].

use licence_core::causes::with_causes;
use licence_core::datafile::{DATAFILE_BYTES_MAX, DatafileError};
use licence_core::key::KeySeries;
use licence_core::language::Language;

/// Why a data file cannot be used.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Problem {
    /// What is in it.
    Invalid(DatafileError),
    /// The name is neither `XXXX.datafile` nor `XXXX.Alias.datafile`.
    Name,
    /// No plain file: a folder, a pipe.
    NoFile,
    /// It cannot be opened or read.
    Read(String),
    /// Another file has the same name but for the case.
    SameName(String),
    /// The series is not known here, so nobody can tell whether the file is genuine.
    Series(KeySeries),
    /// There are more files than are read.
    TooMany(usize),
}

impl Problem {
    /// What is wrong, as a part of a sentence.
    pub fn text(&self, language: Language) -> String {
        match language {
            Language::English => self.english(),
            Language::Russian => self.russian(),
        }
    }

    fn english(&self) -> String {
        match self {
            Self::Invalid(error) => with_causes(error),
            Self::Name => "its name must be XXXX.datafile or XXXX.Alias.datafile".to_owned(),
            Self::NoFile => "it is no plain file".to_owned(),
            Self::Read(error) => format!("it cannot be read: {error}"),
            Self::SameName(other) => format!("{other} has the same name"),
            Self::Series(series) => format!("series {series} is not known to this server"),
            Self::TooMany(max) => format!("no more than {max} data files are read"),
        }
    }

    fn russian(&self) -> String {
        match self {
            Self::Invalid(error) => match error {
                DatafileError::Format => "это не файл данных".to_owned(),
                DatafileError::List(_) => {
                    "список объектов не подлинный: он не подписан ключом серии".to_owned()
                }
                DatafileError::Series(series) => format!("файл относится к серии {series}"),
                DatafileError::TooLarge { max, .. } => format!("больше предела в {max} байт"),
                DatafileError::Contradiction(_) | DatafileError::Object | _ => {
                    "содержимое файла противоречиво, возможно, он скопирован не полностью"
                        .to_owned()
                }
            },
            Self::Name => {
                "имя должно быть вида XXXX.datafile или XXXX.Псевдоним.datafile".to_owned()
            }
            Self::NoFile => "это не обычный файл".to_owned(),
            Self::Read(error) => format!("файл не читается: {error}"),
            Self::SameName(other) => format!("такое же имя у файла {other}"),
            Self::Series(series) => format!("серия {series} неизвестна этому серверу"),
            Self::TooMany(max) => format!("читается не более {max} файлов данных"),
        }
    }

    /// A file that is larger than any data file may be.
    pub(super) const fn too_large() -> Self {
        Self::Invalid(DatafileError::TooLarge { what: "the file", max: DATAFILE_BYTES_MAX })
    }
}
