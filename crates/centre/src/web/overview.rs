//! The vendor's first page, the suspicions and the audit trail.
//!
//! Shows what the books count; whether a suspicion is one is decided in `decide`.

use askama::Template;
use hyper::StatusCode;
use licence_core::key::KeyNo;
use licencekit::vendor::{ActivationView, AuditView, Statistics, SuspicionView, UnsignedView};

use super::frame::{Frame, see_done};
use super::{Call, Page};
use crate::api::refusal_of;
use crate::refusal::Refusal;
use crate::store::MovesFilter;

/// Moves on the first page: the last few, the others are with their keys.
const MOVES_SHOWN: usize = 10;

/// Months on the first page.
const MONTHS_SHOWN: usize = 24;

#[derive(Template)]
#[template(path = "vendor_overview.html")]
struct Overview {
    frame: Frame,
    stats: Statistics,
    moves: Vec<ActivationView>,
}

/// `GET /vendor`.
pub(super) async fn answer(call: &Call<'_>) -> Result<Page, Refusal> {
    let books = &call.centre.books;
    let mut stats = books.statistics().await.map_err(refusal_of)?;
    stats.months.truncate(MONTHS_SHOWN);
    let moves = books.moves(MovesFilter::default()).await.map_err(refusal_of)?;
    let moves = moves.items.into_iter().take(MOVES_SHOWN).collect();
    let page = Overview { frame: Frame::for_staff(call), stats, moves };
    page.frame.answer(StatusCode::OK, &page)
}

#[derive(Template)]
#[template(path = "vendor_unsigned.html")]
struct Unsigned {
    frame: Frame,
    rows: Vec<UnsignedView>,
    next: Option<String>,
}

/// `GET /vendor/unsigned`.
pub(super) async fn unsigned(call: &Call<'_>) -> Result<Page, Refusal> {
    let after = call.query.number("after");
    let found = call.centre.books.unsigned(after).await.map_err(refusal_of)?;
    let page = Unsigned {
        frame: Frame::for_staff(call),
        next: found.next.map(|next| format!("/vendor/unsigned?after={next}")),
        rows: found.items,
    };
    page.frame.answer(StatusCode::OK, &page)
}

#[derive(Template)]
#[template(path = "vendor_suspicions.html")]
struct Suspicions {
    frame: Frame,
    rows: Vec<SuspicionView>,
    all: bool,
}

/// `GET /vendor/suspicions`.
pub(super) async fn suspicions(call: &Call<'_>) -> Result<Page, Refusal> {
    let all = call.query.is_ticked("all");
    let rows = call.centre.books.suspicions(all).await.map_err(refusal_of)?;
    let page = Suspicions { frame: Frame::for_staff(call), rows, all };
    page.frame.answer(StatusCode::OK, &page)
}

/// `POST /vendor/suspicions/{id}`.
pub(super) async fn settle_suspicion(call: &Call<'_>) -> Result<Page, Refusal> {
    let (id, actor, now) = (call.number()?, call.actor()?, call.now);
    let books = &call.centre.books;
    match call.form.text("action") {
        Some("block") => books.block_holder(id, true, actor, now).await,
        Some("unblock") => books.block_holder(id, false, actor, now).await,
        Some("clear") => books.clear_suspicion(id, actor, now).await,
        _ => return Err(Refusal::BadMember("action")),
    }
    .map_err(refusal_of)?;
    Ok(see_done("/vendor/suspicions", "suspicion_settled"))
}

#[derive(Template)]
#[template(path = "vendor_audit.html")]
struct Audit {
    frame: Frame,
    rows: Vec<AuditView>,
    next: Option<String>,
    key: String,
    order: String,
}

/// `GET /vendor/audit`.
pub(super) async fn audit(call: &Call<'_>) -> Result<Page, Refusal> {
    let query = &call.query;
    let key = query.text("key").map(|text| text.parse::<u32>().map(KeyNo));
    let key = key.transpose().map_err(|_| Refusal::BadMember("key"))?;
    let order = query.number("order");
    let before = query.number("before");
    let audit = call.centre.books.audit(key, order, before).await.map_err(refusal_of)?;
    let key = key.map(|key| key.to_string()).unwrap_or_default();
    let order = order.map(|order| order.to_string()).unwrap_or_default();
    let page = Audit {
        frame: Frame::for_staff(call),
        next: audit.next.map(|next| format!("/vendor/audit?key={key}&order={order}&before={next}")),
        rows: audit.items,
        key,
        order,
    };
    page.frame.answer(StatusCode::OK, &page)
}
