//! What a reserve does with the functions: answers by itself, hands on to its main server, or refuses.
//!
//! How it stands to its main server, and how its book follows, is [`super`]'s.

use std::time::Duration;

use hyper::StatusCode;
use licence_core::language::Language;
use licence_core::protocol::ErrorBody;
use licence_ismp::book::Text;
use licence_ismp::record::Who;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::link::{self, Asked, LinkError, MainServer};
use super::{RELAY_BYTES_MAX, Standing, main_of, pull, text_of};
use crate::api::App;
use crate::api::errors::ApiError;
use crate::clock;
use crate::ismp::functions::Caller;
use crate::ismp::refresh;
use crate::link::CONNECT_BOUND;

/// How long a relayed function may take: the wait of `RefreshRequired` and a sign-in of 60 s, each
/// with something on top.
const RELAY_BOUND: Duration = Duration::from_secs(95);

/// Before the id of a session of a reserve server, in what it asks of its main server.
pub(crate) const FOREIGN_SESSION: &str = "reserve:";

/// `POST /api/ismp/replica`: what somebody asks of a reserve and the main server does.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RelayedCall {
    /// English name of the function.
    pub(crate) function: String,
    /// Its parameters.
    #[serde(default)]
    pub(crate) parameters: Value,
    /// Who has called the reserve.
    #[serde(default)]
    pub(crate) who: Who,
}

/// What a function does on a reserve in the place of its own book; nothing where the own book is the
/// one to ask.
///
/// # Errors
///
/// What the main server answers, 503 while it does not answer and is not yet given up.
pub(crate) async fn instead(
    app: &App,
    caller: &Caller,
    function: &str,
    parameters: &Value,
    language: Language,
) -> Result<Option<Value>, ApiError> {
    let replica = &app.ismp_replica;
    let config = app.settings.get();
    let mut standing = replica.standing(&config);
    if standing == Standing::Main || is_reading(function) {
        return Ok(None);
    }
    if function == "RefreshRequired" && refresh::is_fresh(app, parameters).await? {
        return Ok(None);
    }
    // A challenge that was given out here is exchanged here, whoever answers by then.
    if let Some(id) = challenge_of(function, parameters)
        && app.ismp.pass(move |book, _| book.knows_challenge(&id)).await?
    {
        return Ok(None);
    }
    if standing == Standing::Alone && function == "RequestAuthorizationParameters" {
        // It may have come back since the last look, and two sign-ins end each other's keys.
        pull(app).await;
        standing = replica.standing(&config);
    }
    match standing {
        Standing::Main => Ok(None),
        Standing::Alone => {
            replica.go_alone(clock::utc());
            Ok(None)
        }
        Standing::Waiting(left) => Err(waiting(left)),
        Standing::Misset(text) => Err(misset(&text)),
        Standing::Following => {
            let main = main_of(&config).map_err(|error| misset(&text_of(error)))?;
            let Some(main) = main else { return Ok(None) };
            let call = RelayedCall {
                function: function.to_owned(),
                parameters: parameters.clone(),
                who: foreign(caller.who.clone()),
            };
            let answer = relayed(&main, &call, language).await?;
            let is_undone = function == "RefreshRequired"
                && answer.get("Required").is_some_and(|required| *required == true);
            if !is_undone {
                // Whoever reads next reads what was done.
                pull(app).await;
            }
            Ok(Some(answer))
        }
    }
}

/// Whoever calls this server, as the main server may name them.
fn foreign(who: Who) -> Who {
    let session = who.session.map(|id| format!("{FOREIGN_SESSION}{id}"));
    Who { session, ..who }
}

/// Functions that change nothing.
fn is_reading(function: &str) -> bool {
    matches!(function, "CurrentSessionKey" | "ResponsibleSettings" | "Reminders")
}

/// Whose signature or end a function brings.
fn challenge_of(function: &str, parameters: &Value) -> Option<String> {
    let parameters = licence_ismp::names::english(parameters.clone());
    let id = match function {
        "RequestSessionKey" => parameters.get("AuthorizationParameters")?.get("Id"),
        "CancelRefresh" => parameters.get("Id"),
        _ => None,
    };
    id?.as_str().map(|id| id.trim().to_owned())
}

async fn relayed(
    main: &MainServer,
    call: &RelayedCall,
    language: Language,
) -> Result<Value, ApiError> {
    let body = serde_json::to_vec(call).map_err(|error| ApiError::broken(&error))?;
    let path = "/api/ismp/replica".to_owned();
    let asked = Asked {
        method: "POST",
        path,
        body,
        connect: CONNECT_BOUND,
        bound: RELAY_BOUND,
        bytes_max: RELAY_BYTES_MAX,
        language,
    };
    let (status, body) = link::ask(main, asked).await.map_err(|error| lost(main, &error))?;
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|error| ApiError::broken(&error));
    }
    Err(passed_on(status, &body))
}

/// The main server's refusal as ours.
fn passed_on(status: StatusCode, body: &[u8]) -> ApiError {
    let Ok(refusal) = serde_json::from_slice::<ErrorBody>(body) else {
        return main_lost(
            format!("The main server answers {status}."),
            format!("Главный сервер отвечает {status}."),
        );
    };
    let prefix = format!("({})", refusal.exception);
    let text = refusal.message.strip_prefix(&prefix).unwrap_or(&refusal.message).trim();
    // Our own caller is known here: what the main server says of our token is our trouble.
    if matches!(status.as_u16(), 401 | 403) {
        return main_lost(
            format!("The main server refuses this reserve: {text}"),
            format!("Главный сервер отказывает этому резервному: {text}"),
        );
    }
    ApiError::new(status, refusal.exception.clone(), text, text)
}

fn lost(main: &MainServer, error: &LinkError) -> ApiError {
    let (address, why) = (main.address(), link::told(error));
    if error.is_unsent() {
        main_lost(
            format!(
                "The main server {address} of session keys: {why}. Nothing was done; try again."
            ),
            format!(
                "Главный сервер ключей сессии {address} недоступен ({why}). Ничего не сделано; \
                 повторите запрос."
            ),
        )
    } else {
        main_lost(
            format!(
                "The main server {address} of session keys: {why}. Ask again: it knows the outcome."
            ),
            format!(
                "Главный сервер ключей сессии {address} не ответил ({why}). Повторите запрос: исход \
                 известен ему."
            ),
        )
    }
}

fn main_lost(english: String, russian: String) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "EIsmpMainLost", english, russian)
}

fn waiting(left: Duration) -> ApiError {
    let secs = left.as_secs().max(1);
    let mut error = main_lost(
        format!(
            "The main server of session keys does not answer; this reserve acts on its own in {secs} s."
        ),
        format!(
            "Главный сервер ключей сессии не отвечает; этот резервный начнёт действовать сам через \
             {secs} с."
        ),
    );
    error.retry_after_secs = Some(secs);
    error
}

fn misset(text: &Text) -> ApiError {
    main_lost(format!("{}.", text.english), format!("{}.", text.russian))
}

/// Refuses what only the main server changes: organisations and rules.
///
/// # Errors
///
/// 409 on a reserve.
pub(crate) fn refuse_on_reserve(app: &App) -> Result<(), ApiError> {
    match main_of(&app.settings.get()) {
        Ok(None) => Ok(()),
        Ok(Some(main)) => Err(of_main(&main.address())),
        Err(_) => Err(of_main("[ISMP] Main")),
    }
}

fn of_main(address: &str) -> ApiError {
    ApiError::new(
        StatusCode::CONFLICT,
        "EIsmpReserve",
        format!("This server is a reserve for session keys: do that at the main server {address}."),
        format!(
            "Этот сервер — резервный для ключей сессии: выполните это на главном сервере {address}."
        ),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn challenge_is_found_in_either_language() {
        for (function, parameters, wanted) in [
            ("RequestSessionKey", json!({"AuthorizationParameters": {"Id": " a "}}), Some("a")),
            (
                "RequestSessionKey",
                json!({"ПараметрыАвторизации": {"Идентификатор": "a"}}),
                Some("a"),
            ),
            ("CancelRefresh", json!({"Id": "b"}), Some("b")),
            ("CancelRefresh", json!({}), None),
            ("SetSessionKey", json!({"Id": "b"}), None),
        ] {
            assert_eq!(challenge_of(function, &parameters).as_deref(), wanted, "{function}");
        }
    }

    #[test]
    fn refusal_of_our_token_is_not_the_callers_fault() {
        let body = |class: &str| {
            let body = ErrorBody {
                code: 403,
                text: String::new(),
                message: format!("({class}) no"),
                exception: class.to_owned(),
            };
            serde_json::to_vec(&body).unwrap()
        };
        for (status, class, wanted_status, wanted) in [
            (403, "EAccess", 503, "EIsmpMainLost"),
            (401, "EAccess", 503, "EIsmpMainLost"),
            (400, "EParams", 400, "EParams"),
            (501, "EOther", 501, "EOther"),
        ] {
            let error = passed_on(StatusCode::from_u16(status).unwrap(), &body(class));
            assert_eq!((error.status.as_u16(), &*error.class), (wanted_status, wanted), "{status}");
        }
        assert_eq!(passed_on(StatusCode::BAD_GATEWAY, b"<html>").class, "EIsmpMainLost");
    }
}
