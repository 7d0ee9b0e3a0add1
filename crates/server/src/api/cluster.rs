//! `GET /api/cluster`: nodes, blocks of seats and how this node stands; the console shows the same.
//!
//! Shows what the node saw last, also while etcd does not answer. Changes nothing.

use hyper::StatusCode;
use licence_core::cluster::Standing;
use licence_core::time::Utc;
use serde::Serialize;

use crate::api::errors::ApiError;
use crate::api::{Answer, App, Call, json};
use crate::clock;
use crate::cluster::State;
use crate::cluster::picture::Picture;

/// `GET /api/cluster`.
pub(crate) fn answer(call: &Call<'_>) -> Result<Answer, ApiError> {
    let cluster = call.app.cluster.as_ref().ok_or_else(|| none(call.app))?;
    json(StatusCode::OK, &ClusterView::new(&cluster.state()))
}

/// A cluster as one of its nodes sees it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ClusterView {
    /// `starting`, `joined`, `isolated` or `stopping`.
    pub(crate) standing: &'static str,
    /// For how long etcd has not been reached, in seconds; nothing while it is.
    pub(crate) isolated_secs: Option<u64>,
    answered: Option<Utc>,
    pub(crate) renewal_millis: Option<u64>,
    pub(crate) problem: Option<String>,
    #[serde(flatten)]
    pub(crate) picture: Picture,
}

impl ClusterView {
    pub(crate) fn new(state: &State) -> Self {
        let isolated_secs = match state.standing {
            Standing::Isolated { since } => Some(clock::mono().since(since).as_secs()),
            Standing::Joined | Standing::Starting | Standing::Stopping => None,
        };
        Self {
            standing: standing_name(state.standing),
            isolated_secs,
            answered: state.answered,
            renewal_millis: state.renewal_millis,
            problem: state.problem.clone(),
            picture: Picture::new(state.cluster, Some(state.me), &state.contents),
        }
    }
}

/// The published name.
pub(crate) const fn standing_name(standing: Standing) -> &'static str {
    match standing {
        Standing::Isolated { .. } => "isolated",
        Standing::Joined => "joined",
        Standing::Starting => "starting",
        Standing::Stopping => "stopping",
    }
}

/// Why there is no cluster here.
pub(crate) fn none(app: &App) -> ApiError {
    app.cluster_problem.as_deref().map_or_else(alone, broken)
}

fn alone() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "EClusterAlone",
        "This server is no node of a cluster.",
        "Этот сервер не узел кластера.",
    )
}

fn broken(why: &str) -> ApiError {
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "EClusterSettings",
        format!("The settings of the cluster cannot be used: {why}"),
        format!("Настройки кластера не удалось применить: {why}"),
    )
}
