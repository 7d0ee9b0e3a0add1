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
use crate::cluster::shared::ChangeError;

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

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Changed => changed_meanwhile(StatusCode::CONFLICT),
            ChangeError::Random(error) => Self::broken(&error),
            ChangeError::Rules(error) => error.into(),
            ChangeError::TooLong => Self::new(
                StatusCode::BAD_REQUEST,
                "EParams",
                "This is more than the nodes of a cluster can share.",
                "Это больше, чем могут разделить узлы кластера.",
            ),
            ChangeError::Unavailable => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "EClusterUnavailable",
                "The server is not in touch with its cluster: nothing was changed, and what was in \
                 force stays so.",
                "Нет связи с кластером: ничего не изменено, действует прежнее.",
            ),
            ChangeError::Unconfirmed => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "EClusterUnavailable",
                "etcd has not confirmed the change: look again when it is back whether it was made.",
                "etcd не подтвердил изменение: когда он вернётся, посмотрите, сделано ли оно.",
            ),
        }
    }
}

/// What was to be changed is another than the one that the change was made from.
pub(crate) fn changed_meanwhile(status: StatusCode) -> ApiError {
    ApiError::new(
        status,
        "EChangedMeanwhile",
        "This was changed by somebody else meanwhile; look at it and try again.",
        "Это тем временем изменил кто-то другой; посмотрите и повторите.",
    )
}

/// Why a node cannot change what the nodes of its cluster share, if it is one that cannot.
pub(crate) fn refuse_broken(call: &Call<'_>) -> Result<(), ApiError> {
    call.app.cluster_problem.as_deref().map_or(Ok(()), |why| Err(broken(why)))
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
