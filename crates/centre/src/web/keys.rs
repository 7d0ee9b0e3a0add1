//! The pages of keys: the search, one with its history, the vendor's button and the spare code.
//!
//! Shows and asks; which moves a key may make is decided in `decide`.

use askama::Template;
use hyper::StatusCode;
use licence_core::activation::ActivationCode;
use licence_core::centre_request::ReturnReason;
use licence_core::key::KeyNo;
use licencekit::vendor::{
    ActivationView, EndedBy, KeyRow, KeyState, KeyView, ReleaseCall, SpareCall,
};

use super::frame::{Frame, encoded, see_done};
use super::{Call, Page, codes, texts, told};
use crate::api::refusal_of;
use crate::refusal::Refusal;

#[derive(Template)]
#[template(path = "vendor_keys.html")]
struct List {
    frame: Frame,
    rows: Vec<KeyRow>,
    next: Option<String>,
    query: String,
}

/// `GET /vendor/keys`.
pub(super) async fn list(call: &Call<'_>) -> Result<Page, Refusal> {
    let query = call.query.text("query").map(str::to_owned);
    let before = call.query.number("before");
    let found = call.centre.books.keys(query.clone(), before, call.now).await;
    let found = found.map_err(refusal_of)?;
    let query = query.unwrap_or_default();
    let page = List {
        frame: Frame::for_staff(call),
        next: found
            .next
            .map(|next| format!("/vendor/keys?query={}&before={next}", encoded(&query))),
        rows: found.items,
        query,
    };
    page.frame.answer(StatusCode::OK, &page)
}

#[derive(Template)]
#[template(path = "vendor_key.html")]
struct One {
    frame: Frame,
    view: KeyView,
    code: String,
    reserve_code: Option<String>,
    spare_code: Option<String>,
    rows: Vec<Row>,
    reasons: [ReturnReason; 5],
}

/// An activation, with its codes as this reader may see them; of nodes of a cluster alone, because a
/// key that is in one place has its codes above.
struct Row {
    one: ActivationView,
    reserve_code: Option<String>,
    spare_code: Option<String>,
}

fn key_no(call: &Call<'_>) -> Result<KeyNo, Refusal> {
    u32::try_from(call.number()?).map(KeyNo).map_err(|_| Refusal::NotFound)
}

/// `GET /vendor/keys/{no}`, and the same with what is wrong with the form.
pub(super) async fn one(
    call: &Call<'_>,
    status: StatusCode,
    error: Option<String>,
) -> Result<Page, Refusal> {
    let view = call.centre.books.key(key_no(call)?, call.now).await.map_err(refusal_of)?;
    let mut frame = Frame::for_staff(call);
    frame.error = error;
    let rows = view.activations.iter().map(|one| {
        let of_node = |code: Option<ActivationCode>| {
            code.filter(|_| one.cluster.is_some()).map(|code| codes::shown(call, code))
        };
        Row {
            reserve_code: of_node(one.reserve_code),
            spare_code: of_node(one.spare_code),
            one: one.clone(),
        }
    });
    let page = One {
        frame,
        code: codes::shown(call, view.code),
        rows: rows.collect(),
        reserve_code: view.reserve_code.map(|code| codes::shown(call, code)),
        spare_code: view.spare_code.map(|code| codes::shown(call, code)),
        reasons: ReturnReason::ALL,
        view,
    };
    page.frame.answer(status, &page)
}

/// The reason that a form names.
pub(super) fn reason(call: &Call<'_>) -> Option<ReturnReason> {
    let word = call.form.text("reason")?;
    ReturnReason::ALL.into_iter().find(|reason| reason.word() == word)
}

/// The activation that a form names, where several nodes of a cluster have the key.
pub(super) fn activation(call: &Call<'_>) -> Option<String> {
    call.form.text("activation").map(str::to_owned)
}

/// `POST /vendor/keys/{no}`.
pub(super) async fn change(call: &Call<'_>) -> Result<Page, Refusal> {
    let (no, actor, now) = (key_no(call)?, call.actor()?, call.now);
    let books = &call.centre.books;
    let (done, code) = match call.form.text("action") {
        Some("release") => {
            let comment = call.form.text("comment").map(str::to_owned);
            let asked =
                ReleaseCall { reason: reason(call), comment, activation_id: activation(call) };
            if let Err(error) = asked.check() {
                let text = texts::vendor(call.language, &error);
                return one(call, StatusCode::BAD_REQUEST, Some(text)).await;
            }
            (books.release(no, asked, EndedBy::Vendor, actor, now).await.map(drop), "released")
        }
        Some("spare") => {
            let renew = call.form.is_ticked("renew");
            let asked = SpareCall { renew, activation_id: activation(call) };
            (books.spare(no, asked, actor, now).await.map(drop), "spare_drawn")
        }
        _ => return Err(Refusal::BadMember("action")),
    };
    match done {
        Ok(()) => Ok(see_done(&format!("/vendor/keys/{no}"), code)),
        Err(error) => {
            let (status, text) = told(call, error)?;
            one(call, status, Some(text)).await
        }
    }
}
