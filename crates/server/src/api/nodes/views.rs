//! What the addresses of all nodes show, and what nodes tell one another of their sessions.
//!
//! Types only. What people and programs are shown is published in `docs/openapi.yaml`; what nodes tell
//! one another may only grow, because nodes of two versions run side by side during an upgrade.

use licence_core::cluster::NodeId;
use licence_core::time::Utc;
use serde::{Deserialize, Serialize};

use crate::api::views::SessionView;
use crate::history::EventView;

/// A session and the node that it is at.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ClusterSessionView {
    #[serde(flatten)]
    pub(crate) session: SessionView,
    /// Name of the node.
    pub(crate) node: String,
    pub(crate) node_id: NodeId,
}

/// `GET /api/cluster/sessions`.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ClusterSessionsView {
    pub(crate) sessions: Vec<ClusterSessionView>,
    /// Nodes that have not answered.
    pub(crate) missing: Vec<MissingView>,
    /// Nodes with more sessions than are shown.
    pub(crate) cut: Vec<CutView>,
}

/// A node that has not answered.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct MissingView {
    pub(crate) node: String,
    pub(crate) node_id: NodeId,
    /// For people, in the language of the request.
    pub(crate) why: String,
}

/// A node with more sessions than are shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CutView {
    pub(crate) node: String,
    pub(crate) node_id: NodeId,
    /// How many fit what was asked for.
    pub(crate) sessions: usize,
    /// How many of them are shown.
    pub(crate) shown: usize,
}

/// An event and the node that it is of.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ClusterEventView {
    #[serde(flatten)]
    pub(crate) event: EventView,
    /// Name of the node.
    pub(crate) node: String,
    pub(crate) node_id: NodeId,
}

/// `GET /api/cluster/events`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ClusterEventsView {
    /// The newest first, whichever node they are of.
    pub(crate) events: Vec<ClusterEventView>,
    /// Whether there are older ones that fit.
    pub(crate) more: bool,
    /// Nodes that have not answered.
    pub(crate) missing: Vec<MissingView>,
}

/// What a node tells another one of what happened.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct EventsAt {
    pub(crate) events: Vec<EventView>,
}

/// What a node tells another one of a session.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SessionAt {
    pub(crate) session: SessionView,
    /// When it was opened at this node.
    pub(crate) opened: Utc,
    /// Where its component comes from; empty when the connection has ended.
    #[serde(rename = "PeerIP", default)]
    pub(crate) peer_ip: String,
    #[serde(default)]
    pub(crate) terminal_client: Option<String>,
}

/// What a node tells another one of its sessions.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SessionsAt {
    pub(crate) sessions: Vec<SessionAt>,
    /// How many there are, also when fewer of them fit.
    pub(crate) total: usize,
}
