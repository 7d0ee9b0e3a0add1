//! Why a command about data files or licence parameters failed, in both languages.
//!
//! Words only.

use std::path::PathBuf;

use licence_core::causes::with_causes;
use licence_core::datafile::DatafileError;
use licence_core::key::KeySeries;
use licence_core::parameters::{
    PARAMETERS_BYTES_MAX, PARAMETERS_MAX, ParameterFileError, ParametersProblem,
};
use licence_core::protocol::manager::{PARAMETER_NAME_CHARS_MAX, PARAMETER_VALUE_CHARS_MAX};

use super::encoding::EncodingError;
use crate::files::FileError;
use crate::text::russian_file;

/// Why a command about data files or licence parameters failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatafileFailure {
    /// Two rules for one object.
    #[error("--access names {0:?} twice")]
    AccessTwice(String),
    /// A rule for an object that is not packed.
    #[error("--access names {0:?}, and there is no such object")]
    AccessUnknown(String),
    /// The secret of the series was not found.
    #[error(
        "no {series}.cryptkey beside the data file or in the current folder: name it with --cryptkey"
    )]
    CryptkeyMissing {
        /// Of which series.
        series: KeySeries,
    },
    /// A text is not in the encoding that it should be in.
    #[error("{}", .path.display())]
    Encoding {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: EncodingError,
    },
    /// The data file or an object in it was refused.
    #[error("{}", .path.display())]
    Refused {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: DatafileError,
    },
    /// A file could not be read or made.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file has a name that no object may have.
    #[error("{}: {reason}", .path.display())]
    Name {
        /// Which file.
        path: PathBuf,
        /// What is wrong with its name.
        reason: &'static str,
    },
    /// Two files make objects of one name.
    #[error("{} and {} would both be object {name:?}", .paths[0].display(), .paths[1].display())]
    NameTwice {
        /// The name.
        name: String,
        /// The files.
        paths: [PathBuf; 2],
    },
    /// A pattern names no file.
    #[error("{}: no such files", .0.display())]
    NoMatch(PathBuf),
    /// The list was signed by none of the series in the series file.
    #[error("{}: the list is signed by none of the series in {}", .file.display(), .series.display())]
    NoSeries {
        /// The data file.
        file: PathBuf,
        /// The series file.
        series: PathBuf,
    },
    /// The file exists and may not be replaced.
    #[error("{} exists already; -y replaces it", .0.display())]
    OutputExists(PathBuf),
    /// The secret is of another series.
    #[error("{} is the secret of series {found}, not of {wanted}", .path.display())]
    OtherSeries {
        /// The file of the secret.
        path: PathBuf,
        /// The series that was asked for.
        wanted: KeySeries,
        /// The series that it is of.
        found: KeySeries,
    },
    /// A file of parameters is wrong.
    #[error("{}", .path.display())]
    Parameters {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: ParameterFileError,
    },
    /// Two objects of parameters in one file.
    #[error("there are two texts of parameters, Параметры and Parameters: only one would count")]
    ParametersTwice,
    /// A file that must not be packed.
    #[error("{} is {what} and is not packed", .path.display())]
    Secret {
        /// Which file.
        path: PathBuf,
        /// What it is.
        what: NotAnObject,
    },
    /// Neither a series nor its secret is named.
    #[error("name the series with --serie or its secret with --cryptkey")]
    SeriesMissing,
    /// A pattern with signs in the folder's name.
    #[error("{}: * and ? may stand in the file's name only", .0.display())]
    WildFolder(PathBuf),
}

/// What a file is that must not be packed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotAnObject {
    /// A data file.
    Datafile,
    /// The data file that is being made.
    Output,
    /// A file encrypted with age, such as the secret of a series, or the file of its passphrase.
    Secret,
}

impl std::fmt::Display for NotAnObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Datafile => "a data file",
            Self::Output => "the data file itself",
            Self::Secret => "a secret",
        })
    }
}

impl DatafileFailure {
    /// The failure and its causes on one line, in Russian.
    pub fn russian(&self) -> String {
        match self {
            Self::AccessTwice(name) => format!("--access указан для {name:?} дважды"),
            Self::AccessUnknown(name) => {
                format!("--access указан для {name:?}, такого объекта нет")
            }
            Self::CryptkeyMissing { series } => format!(
                "{series}.cryptkey нет ни рядом с файлом данных, ни в текущей папке: укажите --cryptkey"
            ),
            Self::Encoding { path, source } => {
                format!("{}: {}", path.display(), russian_encoding(*source))
            }
            Self::File(error) => russian_file(error),
            Self::Refused { path, source } => {
                format!("{}: {}", path.display(), russian_datafile(source))
            }
            Self::Name { path, .. } => format!(
                "{}: имя объекта не может быть пустым, длинным, с точкой, косой чертой, двоеточием, \
                 управляющими символами и пробелами по краям",
                path.display()
            ),
            Self::NameTwice { name, paths: [one, other] } => {
                format!("{} и {}: у обоих имя объекта {name:?}", one.display(), other.display())
            }
            Self::NoMatch(pattern) => format!("{}: таких файлов нет", pattern.display()),
            Self::NoSeries { file, series } => format!(
                "{}: список подписан не ключами серий из {}",
                file.display(),
                series.display()
            ),
            Self::OtherSeries { path, wanted, found } => {
                format!("{}: секрет серии {found}, а нужна серия {wanted}", path.display())
            }
            Self::OutputExists(path) => {
                format!("{} уже существует; для замены укажите -y", path.display())
            }
            Self::Parameters { path, source } => {
                format!("{}: {}", path.display(), russian_parameters(source))
            }
            Self::ParametersTwice => {
                "два текста параметров, Параметры и Parameters: действовал бы только один".into()
            }
            Self::Secret { path, what } => {
                let what = match what {
                    NotAnObject::Datafile => "файл данных",
                    NotAnObject::Output => "сам создаваемый файл данных",
                    NotAnObject::Secret => "секрет",
                };
                format!("{}: это {what}, он не упаковывается", path.display())
            }
            Self::SeriesMissing => "укажите серию (--serie) или её секрет (--cryptkey)".into(),
            Self::WildFolder(pattern) => {
                format!("{}: * и ? допустимы только в имени файла", pattern.display())
            }
        }
    }
}

fn russian_encoding(error: EncodingError) -> String {
    match error {
        EncodingError::Null => {
            "есть нулевой символ: это не текст или неверно указан --encoding".into()
        }
        EncodingError::Utf16 => "это не UTF-16".into(),
        EncodingError::Utf8(at) => format!("это не UTF-8, начиная с байта {at}"),
        EncodingError::Windows1251(at) => format!("байт {at} – не символ windows-1251"),
    }
}

fn russian_datafile(error: &DatafileError) -> String {
    match error {
        DatafileError::Contradiction(what) => format!("файл данных противоречит сам себе: {what}"),
        DatafileError::Format => "это не файл данных".into(),
        DatafileError::List(source) => {
            format!("список объектов не подлинный: {}", with_causes(source))
        }
        DatafileError::Object => "объект изменён или ключ от другой серии".into(),
        DatafileError::Series(series) => format!("файл данных серии {series}"),
        DatafileError::TooLarge { what: "the file", max } => format!("файл больше {max} байт"),
        DatafileError::TooLarge { max, .. } => format!("объект больше {max} байт"),
        other => with_causes(other),
    }
}

fn russian_parameters(error: &ParameterFileError) -> String {
    match error {
        ParameterFileError::Line { line, problem } => {
            format!("строка {line}: {}", russian_problem(problem))
        }
        ParameterFileError::TooLarge => format!("больше {PARAMETERS_BYTES_MAX} байт"),
        other => with_causes(other),
    }
}

fn russian_problem(problem: &ParametersProblem) -> String {
    match problem {
        ParametersProblem::Control => "управляющий символ".into(),
        ParametersProblem::Line => "ни раздел в скобках, ни имя = значение".into(),
        ParametersProblem::Main => {
            "в [Основной] одна строка: Ключ = серийный номер основного ключа".into()
        }
        ParametersProblem::Name => format!("имя: от 1 до {PARAMETER_NAME_CHARS_MAX} символов"),
        ParametersProblem::NoSection => "значение стоит до первого раздела".into(),
        ParametersProblem::Repeated => "у параметра уже есть значение в этом разделе".into(),
        ParametersProblem::Section => {
            "раздел – [ПоУмолчанию], [Основной] или серийный номер ключа".into()
        }
        ParametersProblem::SectionTwice => "такой раздел уже был".into(),
        ParametersProblem::TooMany => format!("больше {PARAMETERS_MAX} значений"),
        ParametersProblem::Value => {
            format!("значение: не больше {PARAMETER_VALUE_CHARS_MAX} символов")
        }
        other => other.to_string(),
    }
}
