//! Functions of the session keys of ИС МП, as components ask for them.
//!
//! Who may ask is decided here: over a live connection, with an access token or with a seat, as the
//! settings say. What a function does stands in [`crate::ismp::functions`].

use std::sync::Arc;

use hyper::StatusCode;
use licence_core::protocol::manager::{HiddenValue, OperationAnswer, OperationResult};
use licence_core::session::Session;
use licence_ismp::record::Who;
use serde_json::Value;

use super::Asker;
use crate::access::gate::check_ismp_enabled;
use crate::api::errors::ApiError;
use crate::config::ComponentAccess;
use crate::ismp::functions::{self, Caller};

/// Longest access token, in bytes; ours have 47.
const TOKEN_BYTES_MAX: usize = 1024;

/// One function.
pub(super) struct Asked {
    pub(super) function: String,
    pub(super) parameters: Value,
    pub(super) access_token: Option<String>,
    pub(super) session: Option<String>,
}

/// Begins a function; its answer, or the ticket to ask with.
pub(super) async fn answer(asker: &Asker<'_>, asked: Asked) -> Result<OperationAnswer, ApiError> {
    let app = asker.call.app;
    let config = app.settings.get();
    check_ismp_enabled(&config)?;
    let Asked { function, parameters, access_token, session } = asked;
    let session = own_session(asker, session).await?;
    match config.ismp.component_access {
        ComponentAccess::Seat => {
            let has_seat = session.as_ref().is_some_and(|(_, session)| session.key_no.is_some());
            if !has_seat {
                return Err(no_seat());
            }
        }
        ComponentAccess::Token => {
            let token = access_token.unwrap_or_default();
            let token = token.trim();
            if token.is_empty() {
                return Err(no_token());
            }
            if token.len() > TOKEN_BYTES_MAX {
                return Err(super::wrong(
                    format!("AccessToken has at most {TOKEN_BYTES_MAX} bytes."),
                    format!("Параметр AccessToken не длиннее {TOKEN_BYTES_MAX} байт."),
                ));
            }
            app.auth.ismp_token(asker.call, token).await?;
        }
    }
    let who = match session {
        Some((id, session)) => Who {
            user: session.info.user_name.clone().unwrap_or_default(),
            infobase: session.info.info_base_connection_str.clone(),
            session: Some(id),
        },
        None => Who { user: asker.computer.clone().unwrap_or_default(), ..Who::default() },
    };
    let caller = Caller { actor: asker.actor(), who };
    let (app, language) = (Arc::clone(app), asker.language);
    let work = {
        let app = Arc::clone(&app);
        async move {
            let answered = functions::call(&app, &caller, &function, parameters, language).await;
            answered.map(|value| OperationResult::SessionKeys(HiddenValue(value)))
        }
    };
    app.ismp_operations.begin(asker.owner(), work).await
}

/// The session of this component that the message names; nothing when it names none, or one that
/// is not there or another's.
async fn own_session(
    asker: &Asker<'_>,
    id: Option<String>,
) -> Result<Option<(String, Session)>, ApiError> {
    let Some(id) = id else { return Ok(None) };
    let found = asker.call.app.handle.session(id.clone()).await?;
    let own = found.filter(|state| {
        Some(state.session.connection.to_string()) == asker.connection
            && state.session.series == asker.series
    });
    Ok(own.map(|state| (id, state.session)))
}

fn no_token() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "EIsmpAccess",
        "Session keys need an access token of the scope ismp ([ISMP] AccessToken of the component).",
        "Для ключей сессии нужен токен доступа с областью ismp ([ISMP] AccessToken компоненты).",
    )
}

fn no_seat() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "EIsmpAccess",
        "Session keys are for sessions that hold a seat: take one first.",
        "Ключи сессии доступны сеансу, который занимает лицензию: сначала получите её.",
    )
}
