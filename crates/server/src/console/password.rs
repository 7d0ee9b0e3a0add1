//! The page on which somebody changes their own password.
//!
//! What a good password is, is decided by the access part; only that both entries agree is looked
//! at here.

use askama::Template;
use hyper::StatusCode;
use licence_core::language::Language;

use super::frame::{Frame, see_done};
use super::parts::told;
use crate::access::accounts;
use crate::access::csrf::check_form;
use crate::api::errors::ApiError;
use crate::api::form::Form;
use crate::api::routes::Page;
use crate::api::{Answer, Call};

/// `GET /password`.
pub(super) async fn form(call: &Call<'_>) -> Result<Answer, ApiError> {
    show(call, StatusCode::OK, None).await
}

/// `POST /password`.
pub(super) async fn change(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let form = Form::read(body)?;
    check_form(call, &form)?;
    let [old, new, again] = ["old", "new", "again"].map(|name| form.raw(name).unwrap_or(""));
    let result = if new == again {
        accounts::change_password(call.app, &call.actor, old, new).await
    } else {
        Err(ApiError::bad_request(
            "The two entries of the new password differ.",
            "Новый пароль и его повтор различаются.",
        ))
    };
    match result {
        Ok(()) => see_done(call, "/", "password_changed"),
        Err(error) => show(call, error.status, Some(&error)).await,
    }
}

async fn show(
    call: &Call<'_>,
    status: StatusCode,
    error: Option<&ApiError>,
) -> Result<Answer, ApiError> {
    let t = call.language;
    let page = PasswordPage {
        frame: Frame::new(call, Page::PasswordForm).await?,
        t,
        name: call.actor.name.clone(),
        insists: call.actor.has_default_password,
        error: error.map(|error| told(t, error)),
    };
    page.frame.answer(status, &page)
}

#[derive(Template)]
#[template(path = "password.html")]
struct PasswordPage {
    frame: Frame,
    t: Language,
    name: String,
    insists: bool,
    error: Option<String>,
}
