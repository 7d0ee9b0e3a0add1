//! What happened at all nodes of the cluster, merged by time.
//!
//! Each node reads its own history and nothing else; numbers of events are each node's own, so that a page
//! of all of them is named by moments. Nothing is changed here.

use hyper::StatusCode;

use super::views::{ClusterEventView, ClusterEventsView, EventsAt};
use super::{missing_views, peers};
use crate::api::errors::ApiError;
use crate::api::params::Params;
use crate::api::{Answer, Call, events, json};
use crate::cluster::peers::{ALL_BOUND, NoAnswer, Node, Question};
use crate::console::frame::encoded;
use crate::history::{EventFilter, EventView};

/// Where a node asks another one what happened.
const PEER_EVENTS: &str = "/api/cluster/peer/events";

/// What happened at all nodes, as far as they have answered.
pub(crate) struct Merged {
    /// The newest first, whichever node they are of.
    pub(crate) events: Vec<ClusterEventView>,
    /// Whether there are older ones that fit.
    pub(crate) more: bool,
    /// Nodes that have not answered, and why.
    pub(crate) missing: Vec<(Node, NoAnswer)>,
}

/// `GET /api/cluster/events`, with `From`, `To`, `Kind`, `KeyID`, `Text` and `Limit`.
pub(super) async fn events(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let params = Params::read(call.query, body)?;
    let limit = events::limit(&params, events::LIMIT_MAX)?.unwrap_or(events::LIMIT);
    let filter = EventFilter { before: None, limit, ..events::filter(&params)? };
    let Merged { events, more, missing } = merged(call, filter).await?;
    let missing = missing_views(&missing, call.language);
    json(StatusCode::OK, &ClusterEventsView { events, more, missing })
}

/// Asks all nodes for what fits, and merges as much of it as the filter says.
///
/// # Errors
///
/// As [`peers`]; when the history of this node cannot be read.
pub(crate) async fn merged(call: &Call<'_>, filter: EventFilter) -> Result<Merged, ApiError> {
    let peers = peers(call)?;
    let limit = filter.limit;
    let question = Question {
        method: "GET",
        path: PEER_EVENTS.to_owned(),
        query: Some(query(&filter)),
        body: Vec::new(),
        user: &call.actor.name,
        language: call.language,
    };
    // One more of each tells whether there is more. A history that is slow to read is missing here as
    // it would be elsewhere.
    let own = call.app.history.events(EventFilter { limit: limit + 1, ..filter });
    let own = tokio::time::timeout(ALL_BOUND, own);
    let (own, gathered) = tokio::join!(own, peers.ask_all::<EventsAt>(&question));
    let me = peers.me();
    let mut missing = gathered.missing;
    let mut all: Vec<ClusterEventView> = Vec::new();
    let mut add = |events: Vec<EventView>, node: &str, node_id| {
        let view = |event| ClusterEventView { event, node: node.to_owned(), node_id };
        all.extend(events.into_iter().map(view));
    };
    match own {
        Ok(found) => add(found?.iter().map(EventView::from).collect(), &peers.name(&me), me),
        Err(_) => missing.extend(peers.named(&me.to_string()).map(|own| (own, NoAnswer::Silent))),
    }
    for (node, found) in gathered.answers {
        add(found.events, &node.name, node.id);
    }
    all.sort_by(|a, b| {
        let place = |one: &ClusterEventView| (one.event.time, one.node_id, one.event.no);
        place(b).cmp(&place(a))
    });
    let more = all.len() > limit;
    all.truncate(limit);
    Ok(Merged { events: all, more, missing })
}

/// The filter as another node reads it.
fn query(filter: &EventFilter) -> String {
    let EventFilter { from, to, kinds, series, text, before: _, limit } = filter;
    let mut query = format!("Limit={limit}");
    for (name, value) in [
        ("From", from.map(|at| at.to_string())),
        ("To", to.map(|at| at.to_string())),
        ("Kind", (!kinds.is_empty()).then(|| kinds.join(","))),
        ("KeyID", series.map(|series| series.to_string())),
        ("Text", text.clone()),
    ] {
        if let Some(value) = value {
            query.push_str(&format!("&{name}={}", encoded(&value)));
        }
    }
    query
}

/// `GET /api/cluster/peer/events`, with the same parameters.
pub(super) async fn own_events(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let params = Params::read(call.query, body)?;
    let mut filter = events::filter(&params)?;
    filter.limit = events::limit(&params, events::LIMIT_MAX)?.unwrap_or(events::LIMIT) + 1;
    let found = call.app.history.events(filter).await?;
    json(StatusCode::OK, &EventsAt { events: found.iter().map(EventView::from).collect() })
}
