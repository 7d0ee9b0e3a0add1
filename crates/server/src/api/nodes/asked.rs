//! What this node answers other nodes about its own sessions, in as many bytes as they ask for.
//!
//! Whoever comes here has shown a pass at the gate. Nothing is changed here.

use std::sync::Arc;

use hyper::StatusCode;
use licence_core::key::KeySeries;
use licence_core::refusal::Refusal;

use super::views::{SessionAt, SessionsAt};
use crate::api::errors::ApiError;
use crate::api::params::Params;
use crate::api::views::SessionView;
use crate::api::{Answer, App, Call, json, rest};
use crate::cluster::peers::ANSWER_BYTES_MAX;
use crate::driver::SessionState;
use crate::looks::Everyone;

/// `GET /api/cluster/peer/sessions`, with `Bytes`, optionally with `KeyID`.
pub(super) async fn sessions(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let params = Params::read(call.query, body)?;
    let series = rest::series(&params)?;
    let bytes = params.digits("Bytes", 9)?.and_then(|digits| digits.parse().ok());
    let bytes_max = bytes.unwrap_or(ANSWER_BYTES_MAX).min(ANSWER_BYTES_MAX);
    let found = own(call.app, series, bytes_max).await?;
    let looks = &call.app.looks;
    let permit = looks.permit().await?;
    looks.work(permit, found.sessions.len(), move || json(StatusCode::OK, &found)).await?
}

/// `GET /api/cluster/peer/sessions/{ID}`.
pub(super) async fn session(call: &Call<'_>) -> Result<Answer, ApiError> {
    let found = one(call.app, call.argument.clone()).await?;
    json(StatusCode::OK, &found.ok_or(Refusal::SessionNotFound)?)
}

/// A session of this node.
pub(super) async fn one(app: &App, id: String) -> Result<Option<SessionAt>, ApiError> {
    let Some(state) = app.handle.session(id).await? else { return Ok(None) };
    let connection = app.handle.connection(state.session.connection.to_string()).await?;
    let address = connection.as_ref().map_or("", |found| &found.connection.peer);
    Ok(Some(session_at(&state, address)))
}

/// The sessions of this node, in the order of their ids, as far as they fit.
pub(super) async fn own(
    app: &Arc<App>,
    series: Option<KeySeries>,
    bytes_max: usize,
) -> Result<SessionsAt, ApiError> {
    let permit = app.looks.permit().await?;
    let connections = app.handle.connections().await?;
    let everyone = Everyone { connections, sessions: app.handle.sessions().await? };
    let rows = everyone.sessions.len();
    app.looks.work(permit, rows, move || within(&everyone, series, bytes_max)).await
}

fn within(everyone: &Everyone, series: Option<KeySeries>, bytes_max: usize) -> SessionsAt {
    let fits = |state: &&SessionState| series.is_none_or(|no| state.session.series == no);
    let mut found = SessionsAt { sessions: Vec::new(), total: 0 };
    let (mut bytes, mut is_full) = (0, false);
    for state in everyone.sessions.iter().filter(fits) {
        found.total += 1;
        if is_full {
            continue;
        }
        let one = session_at(state, everyone.address_of(state));
        // A view of texts and numbers can always be written; the comma counts too.
        bytes += serde_json::to_vec(&one).map_or(0, |text| text.len()) + 1;
        is_full = bytes > bytes_max;
        if !is_full {
            found.sessions.push(one);
        }
    }
    found
}

fn session_at(state: &SessionState, address: &str) -> SessionAt {
    SessionAt {
        session: SessionView::from(state),
        opened: state.session.opened,
        peer_ip: address.to_owned(),
        terminal_client: state.session.info.terminal_client.clone(),
    }
}
