//! The page of tokens: the list, registering by the text of `blanks.json`, blocking.
//!
//! Reads the text; which tokens are taken is decided by [`BlanksCall::keys`] and the books.

use askama::Template;
use hyper::StatusCode;
use licencekit::vendor::{BlankView, BlanksCall};

use super::frame::{Frame, see_done};
use super::{Call, Page, texts, told};
use crate::api::refusal_of;
use crate::refusal::Refusal;

#[derive(Template)]
#[template(path = "vendor_blanks.html")]
struct List {
    frame: Frame,
    rows: Vec<BlankView>,
    next: Option<String>,
    typed: String,
}

/// `GET /vendor/blanks`, and the same with what is wrong with the form.
pub(super) async fn list(
    call: &Call<'_>,
    status: StatusCode,
    error: Option<String>,
) -> Result<Page, Refusal> {
    let found = call.centre.books.blanks(call.query.number("before")).await.map_err(refusal_of)?;
    let mut frame = Frame::for_staff(call);
    frame.error = error;
    let page = List {
        frame,
        next: found.next.map(|next| format!("/vendor/blanks?before={next}")),
        rows: found.items,
        typed: call.form.raw("blanks").unwrap_or_default().to_owned(),
    };
    page.frame.answer(status, &page)
}

/// `POST /vendor/blanks`.
pub(super) async fn register(call: &Call<'_>) -> Result<Page, Refusal> {
    let text = call.form.raw("blanks").unwrap_or_default();
    let asked = match read(text) {
        Ok(asked) => asked,
        Err(error) => {
            let text =
                call.pick("This is not the text of blanks.json", "Это не текст файла blanks.json");
            let text = format!("{text}: {error}");
            return list(call, StatusCode::BAD_REQUEST, Some(text)).await;
        }
    };
    if let Err(error) = asked.keys() {
        let text = texts::vendor(call.language, &error);
        return list(call, StatusCode::BAD_REQUEST, Some(text)).await;
    }
    match call.centre.books.register_blanks(asked, call.actor()?, call.now).await {
        Ok(_) => Ok(see_done("/vendor/blanks", "blanks_registered")),
        Err(error) => {
            let (status, text) = told(call, error)?;
            list(call, status, Some(text)).await
        }
    }
}

/// The file as `licencekit blank prepare` writes it, or the bare list in it.
fn read(text: &str) -> Result<BlanksCall, serde_json::Error> {
    serde_json::from_str(text).or_else(|error| match serde_json::from_str(text) {
        Ok(blanks) => Ok(BlanksCall { blanks }),
        Err(_) => Err(error),
    })
}

/// `POST /vendor/blanks/{id}`.
pub(super) async fn block(call: &Call<'_>) -> Result<Page, Refusal> {
    let blocked = match call.form.text("action") {
        Some("block") => true,
        Some("unblock") => false,
        _ => return Err(Refusal::BadMember("action")),
    };
    let id = call.number()?;
    let done = call.centre.books.block_blank(id, blocked, call.actor()?, call.now).await;
    done.map_err(refusal_of)?;
    Ok(see_done("/vendor/blanks", "blank_changed"))
}
