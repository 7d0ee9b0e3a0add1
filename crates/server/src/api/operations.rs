//! `POST /client/v1/operation`: licence service, parameters and key memory for 1C's object manager.
//!
//! Reads what is asked and who may ask it; what is done is decided by the activator, the keyring
//! and the driver.

mod keys;
mod licences;
pub(crate) mod parameters;
mod session_keys;
pub(crate) mod tickets;

use std::sync::Arc;

use hyper::StatusCode;
use licence_core::key::{KeyNo, KeySeries};
use licence_core::language::Language;
use licence_core::protocol::manager::{Operation, OperationAnswer, OperationQuery};

use self::licences::{Work, Worker};
use crate::access::{Actor, Via, gate};
use crate::activate::Why;
use crate::api::Call;
use crate::api::errors::ApiError;

/// Characters of a computer's name that the audit trail keeps: a DNS name has 63.
const COMPUTER_CHARS_MAX: usize = 63;

/// Longest password in a message, in bytes; the longest that an account may have is shorter.
const PASSWORD_BYTES_MAX: usize = 1024;

/// Who asks, as far as it is known.
struct Asker<'a> {
    call: &'a Call<'a>,
    series: KeySeries,
    language: Language,
    connection: Option<String>,
    /// Name of its computer, as the component says.
    computer: Option<String>,
}

pub(crate) async fn answer(
    call: &Call<'_>,
    query: OperationQuery,
) -> Result<OperationAnswer, ApiError> {
    let language = query.language.as_deref().map(Language::from_tag);
    let answered = answer_in(call, query, language.unwrap_or(call.language)).await;
    answered.map_err(|error| ApiError { language: language.or(error.language), ..error })
}

async fn answer_in(
    call: &Call<'_>,
    query: OperationQuery,
    language: Language,
) -> Result<OperationAnswer, ApiError> {
    let OperationQuery { connection, key_id: series, ticket, operation, .. } = query;
    if let Some(ticket) = ticket {
        // The operation may have brought the first key, or outlived its connection: only who asks
        // counts.
        let owner = tickets::Owner { ip: call.peer.ip.to_canonical(), series };
        let tickets = match call.app.ismp_operations.knows(&ticket) {
            true => &call.app.ismp_operations,
            false => &call.app.operations,
        };
        return tickets.ask(&ticket, &owner).await;
    }
    let operation = operation.ok_or_else(|| {
        wrong("Operation or Ticket is required.", "Не указана операция (Operation или Ticket).")
    })?;
    let mut asker = Asker { call, series, language, connection, computer: None };
    asker.check(&operation).await?;
    if is_about_licences(&operation) {
        return asker.service(operation).await;
    }
    if let Operation::SessionKeys { function, parameters, access_token, session } = operation {
        let asked = session_keys::Asked { function, parameters, access_token, session };
        return session_keys::answer(&asker, asked).await;
    }
    let result = keys::answer(&asker, operation).await?;
    Ok(OperationAnswer { ticket: None, result: Some(result) })
}

/// Whether an operation changes licences, or prepares that; the others are about a key that is here.
const fn is_about_licences(operation: &Operation) -> bool {
    match operation {
        Operation::Deactivate { .. }
        | Operation::DeactivateRequest { .. }
        | Operation::Demo { .. }
        | Operation::Install { .. }
        | Operation::InstallAnswer { .. }
        | Operation::InstallRequest { .. }
        | Operation::PhoneAnswer { .. }
        | Operation::PhoneRequest { .. }
        | Operation::Update { .. }
        | Operation::UpdateRequest { .. } => true,
        Operation::Parameter { .. }
        | Operation::ReadMemory { .. }
        | Operation::SessionKeys { .. }
        | Operation::SetMemoryPasswords { .. }
        | Operation::WipeMemory { .. }
        | Operation::WriteMemory { .. } => false,
    }
}

impl Asker<'_> {
    /// Whether the asker may ask this at all: over a live connection of the series, or, for what
    /// brings the first key, without one as long as there is no key to connect by.
    async fn check(&mut self, operation: &Operation) -> Result<(), ApiError> {
        let handle = &self.call.app.handle;
        let Some(connection) = &self.connection else {
            let may = operation.is_for_anybody() && handle.documents(self.series).await?.is_empty();
            return if may { Ok(()) } else { Err(connect_first(self.series)) };
        };
        let state = handle.connection(connection.clone()).await?;
        let state = state.ok_or(licence_core::refusal::Refusal::ConnectionNotFound)?;
        if state.connection.series != self.series {
            let of = state.connection.series;
            return Err(wrong(
                format!("KeyID must be the series of the connection, {of}."),
                format!("Параметр KeyID должен быть серией соединения, {of}."),
            ));
        }
        self.computer = Some(state.connection.info.computer_name.clone());
        Ok(())
    }

    async fn service(self, operation: Operation) -> Result<OperationAnswer, ApiError> {
        let app = self.call.app;
        if !app.settings.get().component_service {
            return Err(switched_off());
        }
        let mut actor = self.actor();
        let work = match operation {
            Operation::Install { activation_code, itn, iec, blank_key_no } => {
                Work::Install(self.order(&activation_code, &itn, &iec, blank_key_no)?)
            }
            Operation::InstallRequest { activation_code, itn, iec, blank_key_no: None }
                if activation_code.trim().is_empty() =>
            {
                Work::DemoRequest(licences::demo(self.series, itn.as_deref(), iec.as_deref())?)
            }
            Operation::Demo { itn, iec } => {
                Work::Demo(licences::demo(self.series, itn.as_deref(), iec.as_deref())?)
            }
            Operation::PhoneRequest { activation_code, itn, iec, blank_key_no } => {
                if blank_key_no.is_some() {
                    return Err(no_token_by_telephone());
                }
                Work::PhoneRequest(self.order(&activation_code, &itn, &iec, None)?)
            }
            Operation::PhoneAnswer { answer } => Work::PhoneAnswer(licences::answer_file(answer)?),
            Operation::InstallRequest { activation_code, itn, iec, blank_key_no } => {
                Work::InstallRequest(self.order(&activation_code, &itn, &iec, blank_key_no)?)
            }
            Operation::InstallAnswer { answer } => {
                Work::InstallAnswer(licences::answer_file(answer)?)
            }
            Operation::Update { itn, iec } => {
                Work::Update(licences::Owner::read(itn.as_deref(), iec.as_deref())?)
            }
            Operation::UpdateRequest { itn, iec } => {
                // The request is for all licences of the server; the numbers are only checked.
                licences::Owner::read(itn.as_deref(), iec.as_deref())?;
                Work::UpdateRequest
            }
            Operation::Deactivate { key_no, reason, comment, login, password } => {
                actor = self.administrator(&login, &password).await?;
                Work::Deactivate { key_no, why: Why::of(&reason, &comment) }
            }
            Operation::DeactivateRequest { key_no, reason, comment, login, password } => {
                actor = self.administrator(&login, &password).await?;
                Work::DeactivateRequest { key_no, why: Why::of(&reason, &comment) }
            }
            Operation::Parameter { .. }
            | Operation::ReadMemory { .. }
            | Operation::SessionKeys { .. }
            | Operation::SetMemoryPasswords { .. }
            | Operation::WipeMemory { .. }
            | Operation::WriteMemory { .. } => return Err(ApiError::internal()),
        };
        let worker = Worker {
            activator: Arc::clone(&app.activator),
            handle: app.handle.clone(),
            series: self.series,
            actor,
            language: self.language,
        };
        app.operations.begin(self.owner(), worker.run(work)).await
    }

    fn order(
        &self,
        code: &str,
        itn: &Option<String>,
        iec: &Option<String>,
        blank_key_no: Option<u32>,
    ) -> Result<crate::activate::Order, ApiError> {
        licences::order(self.series, code, itn.as_deref(), iec.as_deref(), blank_key_no)
    }

    fn owner(&self) -> tickets::Owner {
        tickets::Owner { ip: self.call.peer.ip.to_canonical(), series: self.series }
    }

    /// Who the audit trail names: the component's computer, by its own word. A colon stands in no
    /// user's name.
    fn actor(&self) -> Actor {
        let computer = self.computer.as_deref().unwrap_or_default();
        let plain = computer.chars().filter(|c| !c.is_control()).take(COMPUTER_CHARS_MAX);
        let name = format!("component:{}", plain.collect::<String>());
        Actor { name, via: Via::Component, ..gate::anonymous(self.call.peer.ip) }
    }

    /// The administrator by whose name and password the message comes, under the rules of the API:
    /// from where, how often wrong, and with which password.
    async fn administrator(&self, login: &str, password: &str) -> Result<Actor, ApiError> {
        if login.len() > PASSWORD_BYTES_MAX || password.len() > PASSWORD_BYTES_MAX {
            return Err(wrong(
                format!("Login and Password have at most {PASSWORD_BYTES_MAX} bytes."),
                format!("Параметры Login и Password не длиннее {PASSWORD_BYTES_MAX} байт."),
            ));
        }
        self.call.app.auth.administrator(self.call, login, password).await
    }
}

/// 400 `EParams`.
fn wrong(english: impl Into<String>, russian: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "EParams", english, russian)
}

/// 400: the key is another product's.
fn other_series(key_no: KeyNo, series: KeySeries) -> ApiError {
    wrong(
        format!("Key {key_no} belongs to series {series}."),
        format!("Ключ {key_no} относится к серии {series}."),
    )
}

/// 400: a token proves itself to the centre by more than can be read out.
fn no_token_by_telephone() -> ApiError {
    wrong(
        "A licence is not put on a USB token by telephone; use a request file.",
        "По телефону лицензия на аппаратный носитель не устанавливается; используйте файловый запрос.",
    )
}

fn connect_first(series: KeySeries) -> ApiError {
    ApiError::new(
        StatusCode::CONFLICT,
        "EConnectionRequired",
        format!("This needs a connection: start the component with series {series} first."),
        format!("Нужно соединение: сначала запустите компоненту с серией {series}."),
    )
}

fn switched_off() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "EComponentService",
        "Work with licences from 1C is switched off in the settings ([Common] ComponentService).",
        "Работа с лицензиями из 1С отключена в настройках ([Common] ComponentService).",
    )
}
