//! Parameters and memory of a key: which key is meant, and how a refusal is told.
//!
//! What a parameter's value is, and what a password opens, is decided in the core.

use hyper::StatusCode;
use licence_core::key_memory::{DATA_CHARS_MAX, KeyMemoryError, PASSWORD_CHARS_MAX, PasswordKind};
use licence_core::parameters::check_parameter_name;
use licence_core::protocol::manager::{Operation, OperationResult, PARAMETER_NAME_CHARS_MAX};

use super::Asker;
use crate::activate::key_not_found;
use crate::api::errors::ApiError;
use crate::driver::{KeyAsked, KeyChoiceError, OwnPasswords};
use crate::key_memory::MemoryError;

pub(super) async fn answer(
    asker: &Asker<'_>,
    operation: Operation,
) -> Result<OperationResult, ApiError> {
    let handle = &asker.call.app.handle;
    let series = asker.series;
    match operation {
        Operation::Parameter { key_no, session, name, use_main_key } => {
            check_name(&name)?;
            let asked = KeyAsked { series, key_no, session };
            let value =
                super::parameters::value(asker.call.app, asked, &name, use_main_key).await?;
            Ok(OperationResult::Parameter(value))
        }
        Operation::ReadMemory { key_no, session, password } => {
            let asked = KeyAsked { series, key_no, session };
            Ok(OperationResult::Memory(handle.read_memory(asked, password).await???))
        }
        Operation::WriteMemory { key_no, session, password, data } => {
            let asked = KeyAsked { series, key_no, session };
            handle.write_memory(asked, password, data).await???;
            Ok(OperationResult::Done)
        }
        Operation::WipeMemory { key_no, session, password } => {
            let asked = KeyAsked { series, key_no, session };
            handle.wipe_memory(asked, password, &asker.actor()).await???;
            Ok(OperationResult::Done)
        }
        Operation::SetMemoryPasswords {
            key_no,
            session,
            read_password,
            write_password,
            new_read_password,
            new_write_password,
        } => {
            let asked = KeyAsked { series, key_no, session };
            let in_force = OwnPasswords { read: read_password, write: write_password };
            let next = OwnPasswords { read: new_read_password, write: new_write_password };
            handle.set_memory_passwords(asked, in_force, next, &asker.actor()).await???;
            Ok(OperationResult::Done)
        }
        Operation::Deactivate { .. }
        | Operation::DeactivateRequest { .. }
        | Operation::Demo { .. }
        | Operation::Install { .. }
        | Operation::InstallAnswer { .. }
        | Operation::InstallRequest { .. }
        | Operation::PhoneAnswer { .. }
        | Operation::PhoneRequest { .. }
        | Operation::Update { .. }
        | Operation::SessionKeys { .. }
        | Operation::UpdateRequest { .. } => Err(ApiError::internal()),
    }
}

fn check_name(name: &str) -> Result<(), ApiError> {
    check_parameter_name(name.trim()).map(drop).map_err(|error| {
        super::wrong(
            format!("Name is not the name of a parameter: {error}."),
            format!(
                "Name не может быть именем параметра: от 1 до {PARAMETER_NAME_CHARS_MAX} символов без \
                 управляющих."
            ),
        )
    })
}

impl From<KeyChoiceError> for ApiError {
    fn from(error: KeyChoiceError) -> Self {
        match error {
            KeyChoiceError::NotInstalled(key_no) => key_not_found(key_no),
            KeyChoiceError::OtherSeries(key_no, series) => super::other_series(key_no, series),
            KeyChoiceError::Refused(refusal) => refusal.into(),
        }
    }
}

impl From<MemoryError> for ApiError {
    fn from(error: MemoryError) -> Self {
        match error {
            MemoryError::TooManyAttempts(wait) => {
                // A moment more than it takes, so that whoever waits as told may try.
                let secs = wait.as_secs() + 1;
                let error = Self::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "ETooManyAttempts",
                    format!(
                        "Too many wrong passwords for this key's memory; try again in {secs} s."
                    ),
                    format!(
                        "Слишком много неверных паролей к памяти этого ключа; повторите через {secs} с."
                    ),
                );
                Self { retry_after_secs: Some(secs), ..error }
            }
            MemoryError::Rule(KeyMemoryError::Password(kind)) => wrong_password(kind),
            MemoryError::Rule(KeyMemoryError::DataTooLong) => too_long(
                format!("Data must have at most {DATA_CHARS_MAX} characters."),
                format!("Параметр Data должен содержать не более {DATA_CHARS_MAX} символов."),
            ),
            MemoryError::Rule(KeyMemoryError::PasswordTooLong(kind)) => {
                let name = match kind {
                    PasswordKind::Read => "NewReadPassword",
                    PasswordKind::Wipe | PasswordKind::Write => "NewWritePassword",
                };
                too_long(
                    format!("{name} must have at most {PASSWORD_CHARS_MAX} characters."),
                    format!(
                        "Параметр {name} должен содержать не более {PASSWORD_CHARS_MAX} символов."
                    ),
                )
            }
            MemoryError::Rule(other) => Self::broken(&other),
        }
    }
}

fn wrong_password(kind: PasswordKind) -> ApiError {
    let (english, russian) = match kind {
        PasswordKind::Read => (
            "The password for reading the key's memory is wrong.",
            "Неверный пароль на чтение памяти ключа.",
        ),
        PasswordKind::Wipe => (
            "The key's memory is wiped by the developer password of the series or by the password for \
             writing; this is neither.",
            "Память ключа обнуляется по паролю разработчика серии или по паролю на запись; указан \
             другой.",
        ),
        PasswordKind::Write => (
            "The password for writing the key's memory is wrong.",
            "Неверный пароль на запись памяти ключа.",
        ),
    };
    ApiError::new(StatusCode::FORBIDDEN, "EMemoryPassword", english, russian)
}

fn too_long(english: String, russian: String) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "EMemoryTooLong", english, russian)
}
