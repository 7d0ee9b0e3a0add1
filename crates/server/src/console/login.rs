//! Logging in to the console and out of it.
//!
//! Who a name and a password belong to, and how often one may try, is decided by the access part;
//! here is the form.

use askama::Template;
use hyper::StatusCode;
use hyper::header::SET_COOKIE;
use licence_core::language::Language;

use super::frame::{Frame, see_done};
use super::parts::told;
use crate::access::csrf::check_form;
use crate::access::{local, see_other};
use crate::api::errors::ApiError;
use crate::api::form::Form;
use crate::api::params::Params;
use crate::api::routes::Page;
use crate::api::{Answer, Call};

/// `GET /login`.
pub(super) async fn form(call: &Call<'_>) -> Result<Answer, ApiError> {
    let params = Params::read(call.query, b"")?;
    let next = way_on(params.text("next")?);
    show(call, StatusCode::OK, "", &next, None).await
}

/// `POST /login`.
pub(super) async fn login(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let form = Form::read(body)?;
    check_form(call, &form)?;
    let next = way_on(form.text("next"));
    let name = form.text("name").unwrap_or("");
    // As it was typed: a password may begin or end with a blank.
    let password = form.raw("password").unwrap_or("");
    match call.app.auth.login(call, name, password).await {
        Ok(login) => {
            let to = if login.actor.has_default_password { "/password" } else { &next };
            let mut answer = see_other(to);
            answer.headers_mut().append(SET_COOKIE, login.set_cookie);
            Ok(answer)
        }
        Err(error) => show(call, error.status, name, &next, Some(&error)).await,
    }
}

/// `POST /logout`.
pub(super) fn logout(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let form = Form::read(body)?;
    check_form(call, &form)?;
    let mut answer = see_done(call, "/login", "logged_out")?;
    answer.headers_mut().append(SET_COOKIE, call.app.auth.logout(call));
    Ok(answer)
}

/// Where to go after the login: a page of this server, and none that would end it again.
fn way_on(next: Option<&str>) -> String {
    let next = local(next.unwrap_or("/"));
    let path = next.split(['?', '#']).next().unwrap_or("/");
    if ["/login", "/logout"].contains(&path) { "/".to_owned() } else { next }
}

async fn show(
    call: &Call<'_>,
    status: StatusCode,
    name: &str,
    next: &str,
    error: Option<&ApiError>,
) -> Result<Answer, ApiError> {
    let t = call.language;
    let page = LoginPage {
        frame: Frame::new(call, Page::LoginForm).await?,
        t,
        name: name.to_owned(),
        next: next.to_owned(),
        error: error.map(|error| told(t, error)),
    };
    page.frame.answer(status, &page)
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    frame: Frame,
    t: Language,
    name: String,
    next: String,
    error: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn way_on_is_a_page_of_this_server() {
        for (next, expected) in [
            (None, "/"),
            (Some("/sessions?q=a"), "/sessions?q=a"),
            (Some("//evil.example/"), "/"),
            (Some("/\\evil.example"), "/"),
            (Some("https://evil.example/"), "/"),
            (Some("/login?next=/login"), "/"),
            (Some("/logout"), "/"),
        ] {
            assert_eq!(way_on(next), expected, "{next:?}");
        }
    }
}
