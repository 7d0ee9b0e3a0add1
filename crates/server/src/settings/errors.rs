//! Refused changes of settings, as answers.

use std::io::ErrorKind;
use std::path::Path;

use hyper::StatusCode;
use licence_core::language::Language;

use super::Edit;
use super::ini_edit::EditError;
use crate::api::errors::ApiError;
use crate::config::ConfigError;

fn refused(english: String, russian: String) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "ESettings", english, russian)
}

/// The value of an edit cannot stand in a conf file.
pub(super) fn unwritable(section: &str, key: &str, error: EditError) -> ApiError {
    refused(
        format!("[{section}] {key}: {error}."),
        format!("[{section}] {key}: {}.", error.russian()),
    )
}

pub(super) fn too_large(bytes_max: u64) -> ApiError {
    refused(
        format!("The settings file would be larger than {bytes_max} bytes."),
        format!("Файл настроек стал бы больше {bytes_max} байт."),
    )
}

/// The edited file is wrong: by one of the edits, or by what stood there before.
pub(super) fn of_change(error: &ConfigError, edits: &[Edit]) -> ApiError {
    match error {
        ConfigError::Value(wrong)
            if edits.iter().any(|edit| edit.section == wrong.section && edit.key == wrong.key) =>
        {
            let place = format!("[{}] {}", wrong.section, wrong.key);
            refused(
                format!("{place}: expected {}.", wrong.expected.english),
                format!("{place}: ожидается {}.", wrong.expected.russian),
            )
        }
        ConfigError::Gone { .. }
        | ConfigError::Read { .. }
        | ConfigError::Syntax { .. }
        | ConfigError::TooLarge { .. }
        | ConfigError::Value(_) => broken(error),
    }
}

/// The file on disk has an error of its own; it is left as it is.
pub(super) fn broken(error: &ConfigError) -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "ESettingsBroken",
        format!(
            "The settings file has an error and was left as it is: {}.",
            error.text(Language::English)
        ),
        format!(
            "В файле настроек ошибка, он оставлен без изменений: {}.",
            error.text(Language::Russian)
        ),
    )
}

pub(super) fn write(path: &Path, error: &std::io::Error) -> ApiError {
    let path = path.display();
    log::error!("{path} cannot be written: {error}");
    // A file that is a mount of its own cannot be replaced.
    let (english, russian) = if error.kind() == ErrorKind::ResourceBusy {
        (" Mount the folder, not the file alone.", " Подключайте папку целиком, а не один файл.")
    } else {
        ("", "")
    };
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "ESettingsWrite",
        format!(
            "The settings file {path} cannot be written: {error}. Nothing was changed.{english}"
        ),
        format!("Не удалось записать файл настроек {path}: {error}. Ничего не изменено.{russian}"),
    )
}
