//! The page of the cluster: how this node stands, the nodes, the blocks of seats, etcd.
//!
//! A cluster is made, joined and left by the command line; all that can be changed here is that a seat
//! is kept for a session that will not come. What it shows is what the node saw last, so the page answers
//! also while etcd does not; only etcd's own members are asked for it, within a bound.

use askama::Template;
use hyper::StatusCode;
use licence_core::language::Language;
use licence_core::rules::QuotaId;

use super::frame::{self, Frame};
use super::sessions::{not_ended, read_reason};
use crate::api::cluster::ClusterView;
use crate::api::errors::ApiError;
use crate::api::nodes::kept::{self, KeptSeats};
use crate::api::routes::Page;
use crate::api::{Answer, Call};
use crate::cluster::words::quota_name;

/// Most kept seats that the page names.
const KEPT_MAX: usize = 100;

/// `GET /cluster`.
pub(super) async fn answer(call: &Call<'_>) -> Result<Answer, ApiError> {
    shown(call, StatusCode::OK, None).await
}

/// `POST /cluster/kept/{ID}/end`.
pub(super) async fn free_kept(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let (reason, wrong) = read_reason(call, body)?;
    if wrong.is_some() {
        return shown(call, StatusCode::BAD_REQUEST, wrong).await;
    }
    let id = call.argument.clone();
    call.app.handle.free_kept(id, reason, &call.actor).await.map_err(not_ended)?;
    frame::see_done(call, "/cluster", "kept_freed")
}

async fn shown(
    call: &Call<'_>,
    status: StatusCode,
    wrong: Option<String>,
) -> Result<Answer, ApiError> {
    let t = call.language;
    let frame = Frame::new(call, Page::Cluster).await?;
    let (mut view, mut kept) = (None, None);
    if let Some(cluster) = &call.app.cluster {
        let mut found = ClusterView::new(&cluster.state());
        found.picture = found.picture.with_etcd(cluster.etcd().status().await);
        view = Some(found);
        kept = Some(kept::seats(call, KEPT_MAX).await?).filter(|seats| seats.total > 0);
    }
    let standing = view.as_ref().map(|view| standing(view, t));
    let problem = call.app.cluster_problem.clone();
    let page = ClusterPage { frame, t, view, standing, problem, kept, wrong };
    page.frame.answer(status, &page)
}

/// How this node stands: its class in the style sheet, and words.
fn standing(view: &ClusterView, t: Language) -> (&'static str, String) {
    match (view.standing, view.isolated_secs) {
        (_, Some(secs)) => (
            "failed",
            match t {
                Language::Russian => format!(
                    "связи с etcd нет {secs} с: новые лицензии не выдаются, занятые остаются"
                ),
                Language::English => format!(
                    "etcd has not answered for {secs} s: no seats are given out, those that are held \
                     go on"
                ),
            },
        ),
        ("joined", _) => ("ok", t.pick("на связи с etcd", "in touch with etcd").to_owned()),
        ("stopping", _) => ("warning", t.pick("завершает работу", "stopping").to_owned()),
        _ => {
            ("warning", t.pick("ещё не вошёл в кластер", "not yet part of the cluster").to_owned())
        }
    }
}

#[derive(Template)]
#[template(path = "cluster.html")]
struct ClusterPage {
    frame: Frame,
    t: Language,
    view: Option<ClusterView>,
    standing: Option<(&'static str, String)>,
    problem: Option<String>,
    kept: Option<KeptSeats>,
    /// What is wrong with the reason that was given for freeing a seat.
    wrong: Option<String>,
}

impl ClusterPage {
    fn quota_name(&self, quota: &QuotaId) -> String {
        quota_name(quota, self.t)
    }
}
