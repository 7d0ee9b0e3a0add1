//! The page of the cluster: how this node stands, the nodes, the blocks of seats, etcd.
//!
//! Shows and changes nothing: a cluster is made, joined and left by the command line. What it shows is
//! what the node saw last, so the page answers also while etcd does not; only etcd's own members are
//! asked for it, within a bound.

use askama::Template;
use hyper::StatusCode;
use licence_core::language::Language;
use licence_core::rules::QuotaId;

use super::frame::Frame;
use crate::api::cluster::ClusterView;
use crate::api::errors::ApiError;
use crate::api::routes::Page;
use crate::api::{Answer, Call};
use crate::cluster::words::quota_name;

/// `GET /cluster`.
pub(super) async fn answer(call: &Call<'_>) -> Result<Answer, ApiError> {
    let t = call.language;
    let frame = Frame::new(call, Page::Cluster).await?;
    let mut view = None;
    if let Some(cluster) = &call.app.cluster {
        let mut found = ClusterView::new(&cluster.state());
        found.picture = found.picture.with_etcd(cluster.etcd().status().await);
        view = Some(found);
    }
    let standing = view.as_ref().map(|view| standing(view, t));
    let problem = call.app.cluster_problem.clone();
    let page = ClusterPage { frame, t, view, standing, problem };
    page.frame.answer(StatusCode::OK, &page)
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
}

impl ClusterPage {
    fn quota_name(&self, quota: &QuotaId) -> String {
        quota_name(quota, self.t)
    }
}
