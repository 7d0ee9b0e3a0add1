//! What the members do about sessions and their seats.
//!
//! A session is the caller's; which seat it gets is decided by the server, and how long it is known
//! without asking by `licence-client`.

use std::sync::Arc;

use licence_client::{ClientError, Link, Seat};
use licence_core::protocol::SessionInfo;
use serde::Serialize;

use crate::component::{Component, json, text};
use crate::protected::no_session;
use crate::templates::Owner;
use crate::value::Value;
use crate::{process, session_json};

impl Component {
    pub(crate) fn set_session(&self, session: &Value) -> Result<Value, ClientError> {
        let session =
            session_json::session(text(session, "Сеанс")?, &self.info(), &process::info())?;
        let owner = Owner::of(&session);
        let mut state = self.state();
        state.session = Some(Arc::new(session));
        state.owner = Some(owner);
        Ok(Value::Bool(true))
    }

    pub(crate) fn set_wish(&self, wish: &Value) -> Result<Value, ClientError> {
        let wish = session_json::wish(text(wish, "Условия")?)?;
        self.state().wish = Arc::new(wish);
        Ok(Value::Bool(true))
    }

    /// The session of a call: the one it names, or else the one that was set.
    fn session(&self, session: &Value) -> Result<Arc<SessionInfo>, ClientError> {
        let text = text(session, "Сеанс")?;
        if text.trim().is_empty() {
            return self.state().session.clone().ok_or_else(no_session);
        }
        session_json::session(text, &self.info(), &process::info()).map(Arc::new)
    }

    /// The session is in use as long as this object lives.
    pub(crate) fn hold(&self, link: &Link, session: &Arc<SessionInfo>) {
        let mut state = self.state();
        if !state.held.iter().any(|held| same_session(held, session)) {
            link.hold(session);
            state.held.push(Arc::clone(session));
        }
    }

    pub(crate) fn take(&self, session: &Value, wish: &Value) -> Result<Value, ClientError> {
        let link = self.link()?;
        let session = self.session(session)?;
        let wish = text(wish, "Параметры")?;
        let wish = if wish.trim().is_empty() {
            (*self.caller().wish).clone()
        } else {
            session_json::wish(wish)?
        };
        let seat = link.take_seat((*session).clone(), wish)?;
        self.hold(&link, &session);
        json(&SeatAnswer::from(seat))
    }

    pub(crate) fn release(&self, session: &Value) -> Result<Value, ClientError> {
        let link = self.link()?;
        let session = self.session(session)?;
        {
            let mut state = self.state();
            let before = state.held.len();
            state.held.retain(|held| !same_session(held, &session));
            if state.held.len() < before {
                link.unhold(&session);
            }
        }
        link.release(&session).map(Value::Bool)
    }
}

/// What `ЗанятьЛицензию` answers.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SeatAnswer {
    #[serde(rename = "ID")]
    id: String,
    used_licence: Option<u32>,
    expires_in_ms: u64,
    confirmed: bool,
    server: String,
}

impl From<Seat> for SeatAnswer {
    fn from(seat: Seat) -> Self {
        Self {
            id: seat.id,
            used_licence: seat.used_licence.map(|number| number.0),
            expires_in_ms: u64::try_from(seat.expires_in.as_millis()).unwrap_or(u64::MAX),
            confirmed: seat.confirmed,
            server: seat.server,
        }
    }
}

/// Whether two descriptions mean one session: the same rule by which the client finds a seat.
fn same_session(a: &SessionInfo, b: &SessionInfo) -> bool {
    a.info_base_connection_str == b.info_base_connection_str
        && a.session_number == b.session_number
        && a.session_started == b.session_started
        && a.computer_name == b.computer_name
}
