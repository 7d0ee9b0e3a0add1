//! `/api/cluster/sessions` and `/api/cluster/events`: the sessions of all nodes of the cluster, told by any
//! of them, the end of one at another node, and what happened at all of them; `/api/cluster/kept`: seats
//! that this node keeps for sessions of others.
//!
//! Shows what the nodes answer within two seconds and names those that do not; the console shows the
//! same. Each node decides on its own sessions: here they are only asked for.

mod asked;
pub(crate) mod history;
pub(crate) mod kept;
pub(crate) mod views;

use hyper::StatusCode;
use licence_core::key::KeySeries;
use licence_core::language::Language;
use licence_core::refusal::Refusal;
use serde_json::json;

use self::views::{ClusterSessionView, ClusterSessionsView, CutView, MissingView, SessionAt};
use crate::api::errors::ApiError;
use crate::api::params::Params;
use crate::api::routes::Nodes;
use crate::api::{Answer, Call, cluster, json, rest};
use crate::cluster::peers::{NoAnswer, Node, Peers, Question};
use crate::console::frame::encoded;
use crate::driver::AuditNote;

/// Where a node asks another one for its sessions.
const PEER_SESSIONS: &str = "/api/cluster/peer/sessions";

/// Answers one of these addresses.
pub(crate) async fn answer(call: &Call<'_>, what: Nodes, body: &[u8]) -> Result<Answer, ApiError> {
    match what {
        Nodes::Events => history::events(call, body).await,
        Nodes::Kept => kept::list(call).await,
        Nodes::KeptEnd => kept::free(call, body).await,
        Nodes::PeerEvents => history::own_events(call, body).await,
        Nodes::PeerSession => asked::session(call).await,
        // The same as for an administrator of this node; the gate has put down who it is.
        Nodes::PeerSessionEnd => rest::end_session(call, body).await,
        Nodes::PeerSessions => asked::sessions(call, body).await,
        Nodes::Session => session(call).await,
        Nodes::SessionEnd => end_session(call, body).await,
        Nodes::Sessions => sessions(call, body).await,
    }
}

/// The other nodes.
///
/// # Errors
///
/// 404 where there are none, 503 where the settings of the cluster cannot be used.
pub(crate) fn peers<'a>(call: &Call<'a>) -> Result<&'a Peers, ApiError> {
    call.app.peers.as_ref().ok_or_else(|| cluster::none(call.app))
}

/// The sessions of all nodes, as far as they could be had.
pub(crate) struct Everywhere {
    /// Each node's, this one's first.
    pub(crate) nodes: Vec<Place>,
    /// Who has not answered, and why.
    pub(crate) missing: Vec<(Node, NoAnswer)>,
}

/// Sessions of one node.
pub(crate) struct Place {
    pub(crate) id: licence_core::cluster::NodeId,
    pub(crate) name: String,
    pub(crate) is_here: bool,
    pub(crate) sessions: Vec<SessionAt>,
    /// How many there are; more than are shown when they do not fit into an answer.
    pub(crate) total: usize,
}

/// Asks all nodes for their sessions; this one among them.
///
/// # Errors
///
/// As [`peers`]; what the driver answers when it is busy.
pub(crate) async fn everywhere(
    call: &Call<'_>,
    series: Option<KeySeries>,
) -> Result<Everywhere, ApiError> {
    let peers = peers(call)?;
    let bytes_max = peers.share();
    let of_series = series.map(|series| format!("&KeyID={series}")).unwrap_or_default();
    let question = Question {
        method: "GET",
        path: PEER_SESSIONS.to_owned(),
        query: Some(format!("Bytes={bytes_max}{of_series}")),
        body: Vec::new(),
        user: &call.actor.name,
        language: call.language,
    };
    let own = asked::own(call.app, series, bytes_max);
    let (own, gathered) = tokio::join!(own, peers.ask_all::<views::SessionsAt>(&question));
    let (own, me) = (own?, peers.me());
    let place = |id, name, is_here, found: views::SessionsAt| Place {
        id,
        name,
        is_here,
        sessions: found.sessions,
        total: found.total,
    };
    let mut nodes = vec![place(me, peers.name(&me), true, own)];
    for (node, found) in gathered.answers {
        nodes.push(place(node.id, node.name, false, found));
    }
    Ok(Everywhere { nodes, missing: gathered.missing })
}

/// `GET /api/cluster/sessions`, optionally with `KeyID`.
async fn sessions(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let series = rest::series(&Params::read(call.query, body)?)?;
    let Everywhere { nodes, missing } = everywhere(call, series).await?;
    let language = call.language;
    let missing = missing_views(&missing, language);
    let mut view = ClusterSessionsView { missing, ..Default::default() };
    let rows = nodes.iter().map(|place| place.sessions.len()).sum();
    let looks = &call.app.looks;
    let permit = looks.permit().await?;
    let made = looks.work(permit, rows, move || {
        for Place { id, name, sessions, total, .. } in nodes {
            let shown = sessions.len();
            if shown < total {
                view.cut.push(CutView { node: name.clone(), node_id: id, sessions: total, shown });
            }
            view.sessions.extend(sessions.into_iter().map(|one| ClusterSessionView {
                session: one.session,
                node: name.clone(),
                node_id: id,
            }));
        }
        json(StatusCode::OK, &view)
    });
    made.await?
}

fn missing_views(missing: &[(Node, NoAnswer)], language: Language) -> Vec<MissingView> {
    let view = |(node, why): &(Node, NoAnswer)| MissingView {
        node: node.name.clone(),
        node_id: node.id,
        why: why.text(language),
    };
    missing.iter().map(view).collect()
}

/// The node and the session that an address names.
pub(crate) fn named(call: &Call<'_>) -> Result<(Node, String), ApiError> {
    let (name, id) = call.argument.rsplit_once('/').unwrap_or((&call.argument, ""));
    let node = peers(call)?.named(name).ok_or_else(|| {
        let shown: String = name.chars().take(100).collect();
        ApiError::new(
            StatusCode::NOT_FOUND,
            "EClusterNode",
            format!("The cluster has no node {shown}, or more than one of that name."),
            format!("В кластере нет узла {shown}, или узлов с таким именем несколько."),
        )
    })?;
    Ok((node, id.to_owned()))
}

/// One session of another node, or of this one.
///
/// # Errors
///
/// 404 when the node has none; 503 when it does not answer.
pub(crate) async fn one(call: &Call<'_>, node: &Node, id: &str) -> Result<SessionAt, ApiError> {
    let peers = peers(call)?;
    if node.id == peers.me() {
        let found = asked::one(call.app, id.to_owned()).await?;
        return found.ok_or_else(|| Refusal::SessionNotFound.into());
    }
    let question = question(call, "GET", id, Vec::new());
    peers.ask_one(node, &question).await.map_err(|why| refused(call, node, &why, false))
}

/// `GET /api/cluster/sessions/{Node}/{ID}`.
async fn session(call: &Call<'_>) -> Result<Answer, ApiError> {
    let (node, id) = named(call)?;
    let found = one(call, &node, &id).await?;
    let view =
        ClusterSessionView { session: found.session, node: node.name.clone(), node_id: node.id };
    json(StatusCode::OK, &view)
}

/// `DELETE /api/cluster/sessions/{Node}/{ID}`, optionally with `Reason`.
async fn end_session(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let params = Params::read(call.query, body)?;
    let reason = params.text("Reason")?.unwrap_or_default();
    let (node, id) = named(call)?;
    let session = end(call, &node, &id, reason).await?;
    let view = ClusterSessionView { session, node: node.name.clone(), node_id: node.id };
    json(StatusCode::ACCEPTED, &view)
}

/// Ends a session of a node and tells what it was. The node puts down who asked, and by which node; this
/// one puts down what was done there.
///
/// # Errors
///
/// 404 when the node has no such session; 503 when it does not answer.
pub(crate) async fn end(
    call: &Call<'_>,
    node: &Node,
    id: &str,
    reason: &str,
) -> Result<crate::api::views::SessionView, ApiError> {
    let peers = peers(call)?;
    let handle = &call.app.handle;
    if node.id == peers.me() {
        let ended = handle.revoke(id.to_owned(), reason.to_owned(), &call.actor).await?;
        return Ok((&ended).into());
    }
    let body = json!({ "Reason": reason }).to_string().into_bytes();
    let question = question(call, "DELETE", id, body);
    let ended: crate::api::views::SessionView =
        peers.ask_one(node, &question).await.map_err(|why| refused(call, node, &why, true))?;
    let note = AuditNote {
        action: "session_end_at",
        subject: id.to_owned(),
        key_no: ended.used_licence,
        series: Some(ended.key_id),
        note: format!("{}: {reason}", node.name),
    };
    // It is done: a line that cannot be kept here must not look like a session that goes on.
    if let Err(error) = handle.audit(note, &call.actor).await {
        log::error!("session {id} was ended at {}; no line is kept here: {error}", node.name);
    }
    Ok(ended)
}

fn question<'a>(call: &'a Call<'_>, method: &'static str, id: &str, body: Vec<u8>) -> Question<'a> {
    Question {
        method,
        path: format!("{PEER_SESSIONS}/{}", encoded(id)),
        query: None,
        body,
        user: &call.actor.name,
        language: call.language,
    }
}

/// What a node's refusal or silence is for whoever asked this one.
fn refused(call: &Call<'_>, node: &Node, why: &NoAnswer, is_change: bool) -> ApiError {
    if let NoAnswer::Refused(StatusCode::NOT_FOUND, Some(body)) = why
        && body.exception == Refusal::SessionNotFound.class()
    {
        return Refusal::SessionNotFound.into();
    }
    let name = &node.name;
    let (english, russian) = (why.text(Language::English), why.text(Language::Russian));
    log::warn!("{} {}: node {name}: {english}", call.method, call.path);
    let (more, more_russian) = match (is_change, why.is_undone()) {
        (false, _) => ("", ""),
        (true, true) => (" Nothing was done.", " Ничего не сделано."),
        (true, false) => (
            " Whether it was done is not known; look at the list again.",
            " Сделано ли, неизвестно; откройте список заново.",
        ),
    };
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "EClusterNode",
        format!("Node {name}: {english}.{more}"),
        format!("Узел {name}: {russian}.{more_russian}"),
    )
}

/// Whether a node is this one.
pub(crate) fn is_here(call: &Call<'_>, node: &Node) -> bool {
    call.app.peers.as_ref().is_some_and(|peers| peers.me() == node.id)
}
