//! The object manager's wishes beyond seats and objects: licence service, parameters, key memory,
//! session keys of ИС МП.
//!
//! An operation that takes the server long is asked for again by its ticket, with pauses in which
//! heartbeats and other calls go on. What changes something is never asked of a second server when
//! the first is lost in the middle: nobody knows then whether it was done. A question may be, also
//! when its ticket is lost with the server.

use std::time::Duration;

use licence_core::protocol::SessionInfo;
use licence_core::protocol::manager::{
    FILE_TEXT_BYTES_MAX, Operation, OperationAnswer, OperationQuery, OperationResult,
    PARAMETER_NAME_CHARS_MAX,
};
use licence_core::time::MonoTime;

use crate::answer::Answered;
use crate::client::{CALL_BOUND, Link, mixed_up};
use crate::clock::system_now;
use crate::error::{ClientError, code};
use crate::jobs::{OperationAsked, Question, Reply};
use crate::state::{SessionKey, TargetId};
use crate::worker::{Trouble, Worker};

/// An operation that needs the centre blocks its caller at most this long: the server asks the
/// centre itself with half of it, and a person waits. Every other operation blocks its caller at
/// most [`CALL_BOUND`].
pub const OPERATION_BOUND: Duration = Duration::from_secs(60);

/// A function of the session keys of ИС МП that waits for somebody or for the service blocks its
/// caller at most this long: the service is given 60 s for a sign-in, as 1C gives it. The other
/// functions block at most [`CALL_BOUND`].
pub const SESSION_KEYS_BOUND: Duration = Duration::from_secs(90);

/// Most bytes of parameters of such a function: a signature with a chain of certificates has some
/// 20 KiB, the settings of a holding of 500 organisations some 300 KiB.
pub const SESSION_KEYS_BYTES_MAX: usize = 512 * 1024;

/// Functions of the session keys that change nothing for whoever asks.
const SESSION_KEY_QUESTIONS: [&str; 4] =
    ["CurrentSessionKey", "RefreshRequired", "Reminders", "ResponsibleSettings"];

/// Functions of the session keys that wait: for whoever refreshes a key, or for the service.
const SESSION_KEY_WAITS: [&str; 3] =
    ["RefreshRequired", "RequestAuthorizationParameters", "RequestSessionKey"];

/// How often a question is begun whose ticket was lost with its server: once at each of three.
const BEGINNINGS_MAX: u32 = 3;

/// Pause before a ticket is shown again. The server holds each question a little itself.
pub(crate) const TICKET_PAUSE: Duration = Duration::from_millis(250);

/// Refusal of a ticket that the server did not give to this connection.
const NO_TICKET: &str = "ETicketNotFound";

/// How long the caller of an operation waits.
pub(crate) fn bound_of(operation: &Operation) -> Duration {
    match operation {
        Operation::Install { .. }
        | Operation::Demo { .. }
        | Operation::Update { .. }
        | Operation::Deactivate { .. } => OPERATION_BOUND,
        Operation::InstallRequest { .. }
        | Operation::PhoneRequest { .. }
        | Operation::PhoneAnswer { .. }
        | Operation::UpdateRequest { .. }
        | Operation::DeactivateRequest { .. }
        | Operation::InstallAnswer { .. }
        | Operation::Parameter { .. }
        | Operation::ReadMemory { .. }
        | Operation::WriteMemory { .. }
        | Operation::WipeMemory { .. }
        | Operation::SetMemoryPasswords { .. } => CALL_BOUND,
        Operation::SessionKeys { function, .. } => {
            let waits = SESSION_KEY_WAITS.contains(&function.as_str());
            if waits { SESSION_KEYS_BOUND } else { CALL_BOUND }
        }
    }
}

/// Whether an operation only asks, so that another server may be asked after a loss.
fn is_question(operation: &Operation) -> bool {
    match operation {
        Operation::Parameter { .. } | Operation::ReadMemory { .. } => true,
        Operation::SessionKeys { function, .. } => {
            SESSION_KEY_QUESTIONS.contains(&function.as_str())
        }
        Operation::Install { .. }
        | Operation::Demo { .. }
        | Operation::PhoneRequest { .. }
        | Operation::PhoneAnswer { .. }
        | Operation::Update { .. }
        | Operation::Deactivate { .. }
        | Operation::InstallRequest { .. }
        | Operation::UpdateRequest { .. }
        | Operation::DeactivateRequest { .. }
        | Operation::InstallAnswer { .. }
        | Operation::WriteMemory { .. }
        | Operation::WipeMemory { .. }
        | Operation::SetMemoryPasswords { .. } => false,
    }
}

/// Refuses what no server would take, before it travels.
pub(crate) fn check(operation: &Operation) -> Result<(), ClientError> {
    match operation {
        Operation::InstallAnswer { answer } | Operation::PhoneAnswer { answer }
            if answer.len() > FILE_TEXT_BYTES_MAX =>
        {
            Err(ClientError::params(
                format!("Answer длиннее {FILE_TEXT_BYTES_MAX} байт"),
                format!("Answer is longer than {FILE_TEXT_BYTES_MAX} bytes"),
            ))
        }
        Operation::Parameter { name, .. } if name.chars().count() > PARAMETER_NAME_CHARS_MAX => {
            Err(ClientError::params(
                format!("Name длиннее {PARAMETER_NAME_CHARS_MAX} символов"),
                format!("Name is longer than {PARAMETER_NAME_CHARS_MAX} characters"),
            ))
        }
        Operation::SessionKeys { parameters, .. } if is_too_long(parameters) => {
            Err(ClientError::params(
                format!("Параметры функции длиннее {SESSION_KEYS_BYTES_MAX} байт"),
                format!("the function's parameters are longer than {SESSION_KEYS_BYTES_MAX} bytes"),
            ))
        }
        Operation::Install { .. }
        | Operation::Demo { .. }
        | Operation::PhoneRequest { .. }
        | Operation::PhoneAnswer { .. }
        | Operation::Update { .. }
        | Operation::Deactivate { .. }
        | Operation::InstallRequest { .. }
        | Operation::UpdateRequest { .. }
        | Operation::DeactivateRequest { .. }
        | Operation::InstallAnswer { .. }
        | Operation::Parameter { .. }
        | Operation::ReadMemory { .. }
        | Operation::WriteMemory { .. }
        | Operation::WipeMemory { .. }
        | Operation::SetMemoryPasswords { .. }
        | Operation::SessionKeys { .. } => Ok(()),
    }
}

fn is_too_long(parameters: &serde_json::Value) -> bool {
    serde_json::to_vec(parameters).is_ok_and(|bytes| bytes.len() > SESSION_KEYS_BYTES_MAX)
}

/// The place for the id of the caller's session, in operations that have one.
fn session_of(operation: &mut Operation) -> Option<&mut Option<String>> {
    match operation {
        Operation::Parameter { session, .. }
        | Operation::ReadMemory { session, .. }
        | Operation::WriteMemory { session, .. }
        | Operation::WipeMemory { session, .. }
        | Operation::SetMemoryPasswords { session, .. }
        | Operation::SessionKeys { session, .. } => Some(session),
        Operation::Install { .. }
        | Operation::Demo { .. }
        | Operation::PhoneRequest { .. }
        | Operation::PhoneAnswer { .. }
        | Operation::Update { .. }
        | Operation::Deactivate { .. }
        | Operation::InstallRequest { .. }
        | Operation::UpdateRequest { .. }
        | Operation::DeactivateRequest { .. }
        | Operation::InstallAnswer { .. } => None,
    }
}

impl Link {
    /// Has the server carry out an operation. `session` is whose key is the current one: the id of
    /// the seat that it holds goes along, and no seat is taken for it. Blocks at most
    /// [`OPERATION_BOUND`] for what needs the centre, [`SESSION_KEYS_BOUND`] for a function of the
    /// session keys that waits, else [`CALL_BOUND`].
    ///
    /// # Errors
    ///
    /// Refusals of the server; `EParams` for what is longer than any server takes; `EExecuteError`
    /// when the server was lost in the middle of a change.
    pub fn operation(
        &self,
        session: Option<&SessionInfo>,
        mut operation: Operation,
    ) -> Result<OperationResult, ClientError> {
        check(&operation)?;
        let bound = bound_of(&operation);
        let deadline = system_now().after(bound);
        let mut may_open_again = true;
        loop {
            let mut held = None;
            if let Some(place) = session_of(&mut operation) {
                let now = self.lease_now();
                if let Some(key) = session.map(SessionKey::of) {
                    held = self
                        .with_target(|target| target.seat_of(&key, now))?
                        .map(|(id, wish)| (key, id, wish));
                }
                *place = held.as_ref().map(|(_, id, _)| id.clone());
            }
            match self.run(operation.clone(), deadline, bound) {
                Err(error) if may_open_again && error.is_refusal("ESessionNotFound") => {
                    may_open_again = false;
                    let (Some(session), Some((key, id, wish))) = (session, held) else {
                        return Err(error);
                    };
                    self.with_target(|target| target.disown(&key, &id))?;
                    self.seat_until(session, &wish, deadline, bound)?;
                }
                result => return result,
            }
        }
    }

    /// Asks, and asks again with the ticket until there is a result.
    fn run(
        &self,
        operation: Operation,
        deadline: MonoTime,
        bound: Duration,
    ) -> Result<OperationResult, ClientError> {
        let again = is_question(&operation).then(|| operation.clone());
        let mut beginnings_left = BEGINNINGS_MAX - 1;
        let (language, is_repeatable) = (self.language(), again.is_some());
        let asked_of = |operation: Option<Operation>, ticket: Option<String>| OperationAsked {
            operation,
            ticket,
            language,
            is_repeatable,
        };
        let mut asked = asked_of(Some(operation), None);
        loop {
            let is_begun = asked.ticket.is_some();
            let question = Question::Operation(Box::new(asked));
            let reply = if is_begun {
                self.ask_after(TICKET_PAUSE, question, deadline, bound)
            } else {
                self.ask_until(question, deadline, bound)
            };
            let reply = match reply {
                Err(error) if is_begun && error.is_refusal(NO_TICKET) => {
                    // Whoever held it is lost, or has begun anew.
                    let Some(operation) = again.clone().filter(|_| beginnings_left > 0) else {
                        return Err(of_ticket(error));
                    };
                    beginnings_left -= 1;
                    asked = asked_of(Some(operation), None);
                    continue;
                }
                reply => reply?,
            };
            let Reply::Operation(answer) = reply else { return Err(mixed_up()) };
            match outcome(answer)? {
                Outcome::Done(result) => return Ok(result),
                Outcome::Ticket(ticket) => asked = asked_of(None, Some(ticket)),
            }
        }
    }
}

/// What an answer says.
pub(crate) enum Outcome {
    Done(OperationResult),
    Ticket(String),
}

/// Reads an answer: a result, or a ticket.
///
/// # Errors
///
/// When it has neither.
pub(crate) fn outcome(answer: OperationAnswer) -> Result<Outcome, ClientError> {
    match (answer.result, answer.ticket) {
        (Some(result), _) => Ok(Outcome::Done(result)),
        (None, Some(ticket)) => Ok(Outcome::Ticket(ticket)),
        (None, None) => Err(ClientError::execute(
            "Сервер не сообщил результат операции",
            "the server told no result of the operation",
        )),
    }
}

/// What a refused ticket means to the caller, who has none: the server that took the operation up is
/// lost or has begun anew, or another one is in use.
pub(crate) fn of_ticket(error: ClientError) -> ClientError {
    if error.is_refusal(NO_TICKET) { unknown_outcome() } else { error }
}

/// The server was lost in the middle of a change.
pub(crate) fn unknown_outcome() -> ClientError {
    ClientError::execute(
        "Связь с сервером потеряна во время операции, и выполнена ли она, неизвестно: проверьте её \
         результат, прежде чем повторять",
        "the server was lost during the operation, and whether it was done is not known: look at \
         its result before you repeat it",
    )
}

impl Worker<'_> {
    /// Asks the server in use for one operation, once.
    pub(crate) fn operation_turn(&mut self, id: TargetId, asked: &OperationAsked) -> Answered {
        let Some(series) = self.lines.get(&id).map(|line| line.key.series) else {
            return Answered::Reply(Err(ClientError::stopping()));
        };
        let query = |connection: &str| OperationQuery {
            connection: Some(connection.to_owned()),
            key_id: series,
            language: Some(code(asked.language).to_owned()),
            ticket: asked.ticket.clone(),
            operation: asked.operation.clone(),
        };
        let at_former = asked.operation.clone().is_some_and(|mut operation| {
            let session = session_of(&mut operation).and_then(Option::take);
            session.is_some_and(|session| self.is_at_former(id, &session))
        });
        let answer = at_former.then(|| self.ask_former(id, "operation", query)).flatten();
        let mut answer: Result<OperationAnswer, Trouble> =
            answer.unwrap_or_else(|| self.request(id, "operation", query));
        if asked.ticket.is_some()
            && let Err(Trouble::Refused { error, .. }) = &answer
            && error.is_refusal(NO_TICKET)
            && let Some(theirs) = self.ask_former(id, "operation", query)
        {
            // Begun where the session has its seat.
            answer = theirs;
        }
        match answer {
            Ok(answer) => {
                if answer.ticket.is_some()
                    && !asked.is_repeatable
                    && let Some(line) = self.lines.get_mut(&id)
                {
                    line.ticket_at = Some(system_now());
                }
                Answered::Reply(Ok(Reply::Operation(answer)))
            }
            Err(Trouble::Refused { error, .. }) => Answered::Reply(Err(error)),
            // Refused before it was looked at: the connection was not known.
            Err(Trouble::Reconnected) => Answered::Again,
            Err(Trouble::Lost) if asked.is_repeatable => Answered::Again,
            Err(Trouble::Lost) => Answered::Reply(Err(unknown_outcome())),
        }
    }
}
