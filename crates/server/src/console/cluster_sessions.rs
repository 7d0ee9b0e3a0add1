//! Sessions of all nodes of the cluster, one of another node, and its end by an operator.
//!
//! What the nodes answer [`crate::api::nodes`] gathers, as for programs; here it is shown. A session of
//! this node has its page among this server's own.

use hyper::StatusCode;

use crate::access::see_other;
use crate::api::errors::ApiError;
use crate::api::nodes::views::SessionAt;
use crate::api::nodes::{self, Everywhere};
use crate::api::routes::Page;
use crate::api::{Answer, Call};
use crate::clock;
use crate::cluster::peers::{NoAnswer, Node};
use crate::console::frame::{self, Frame, encoded};
use crate::console::sessions::{
    AllNodes, Facts, Line, Place, SessionPage, SessionsPage, columns, pick, read_reason,
};
use crate::console::table::{Column, Wanted, by_text};

/// The address of the list.
const LIST: &str = "/cluster/sessions";

fn all_columns<'a>() -> Vec<Column<Line<'a>>> {
    let mut all = columns();
    all.insert(1, Column::new("node", "Узел", "Node", |a, b| by_text(a.node, b.node)));
    all
}

fn line<'a>(place: &'a nodes::Place, told: &'a SessionAt) -> Line<'a> {
    let view = &told.session;
    Line {
        node: &place.name,
        place: Place::Told((!place.is_here).then_some(place.id), &view.id),
        number: &view.session_number,
        user: view.user_name.as_deref().unwrap_or_default(),
        computer: &view.computer_name,
        address: &told.peer_ip,
        application: &view.app_name,
        infobase: &view.info_base_connection_str,
        series: view.key_id,
        key_no: view.used_licence,
        opened: told.opened,
        ends: view.expire_time,
    }
}

/// `GET /cluster/sessions`.
pub(super) async fn list(call: &Call<'_>) -> Result<Answer, ApiError> {
    let wanted = Wanted::read(LIST, call.query)?;
    let mut frame = Frame::new(call, Page::ClusterSessions).await?;
    // Every look asks all nodes: it is taken when somebody wants it, not every few seconds.
    frame.refreshes = false;
    let Everywhere { nodes, missing } = nodes::everywhere(call, wanted.series).await?;
    let why = |(node, why): &(Node, NoAnswer)| (node.name.clone(), why.text(call.language));
    let cut = nodes.iter().filter(|place| place.sessions.len() < place.total);
    let all = AllNodes {
        missing: missing.iter().map(why).collect(),
        cut: cut.map(|place| (place.name.clone(), place.total, place.sessions.len())).collect(),
    };
    let (asked, now) = (wanted.clone(), clock::utc());
    let rows = nodes.iter().map(|place| place.sessions.len()).sum();
    let looks = &call.app.looks;
    let permit = looks.permit().await?;
    let picked = looks.work(permit, rows, move || {
        let lines =
            nodes.iter().flat_map(|place| place.sessions.iter().map(|one| line(place, one)));
        pick(lines, &all_columns(), &asked, now)
    });
    let listing = wanted.listing(&frame, &all_columns(), picked.await?);
    let page = SessionsPage { frame, wanted, listing, path: LIST, is_all: true, all: Some(all) };
    page.frame.answer(StatusCode::OK, &page)
}

/// `GET /cluster/sessions/{Node}/{ID}`.
pub(super) async fn one(call: &Call<'_>) -> Result<Answer, ApiError> {
    let (node, id) = nodes::named(call)?;
    if nodes::is_here(call, &node) {
        return Ok(see_other(&Frame::bare(call)?.link(format!("/sessions/{}", encoded(&id)))));
    }
    shown(call, StatusCode::OK, &node, &id, "", None).await
}

/// `POST /cluster/sessions/{Node}/{ID}/end`.
pub(super) async fn end(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let (reason, wrong) = read_reason(call, body)?;
    let (node, id) = nodes::named(call)?;
    if wrong.is_some() {
        return shown(call, StatusCode::BAD_REQUEST, &node, &id, &reason, wrong).await;
    }
    nodes::end(call, &node, &id, &reason).await?;
    call.app.forget_looks().await;
    frame::see_done(call, LIST, "session_ended")
}

async fn shown(
    call: &Call<'_>,
    status: StatusCode,
    node: &Node,
    id: &str,
    reason: &str,
    wrong: Option<String>,
) -> Result<Answer, ApiError> {
    let mut frame = Frame::new(call, Page::ClusterSession).await?;
    frame.refreshes = false;
    let found = nodes::one(call, node, id).await?;
    let facts = Facts {
        opened: found.opened,
        terminal_client: found.terminal_client,
        address: (!found.peer_ip.is_empty()).then_some(found.peer_ip),
        node: Some(node.name.clone()),
        href: format!("{LIST}/{}/{}", node.id, encoded(id)),
        back: LIST,
        view: found.session,
    };
    SessionPage::new(frame, facts, reason, wrong, clock::utc()).answer(status)
}
