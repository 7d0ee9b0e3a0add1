//! The page of the vendor's accounts and their tokens, and the one of one's own password.
//!
//! Shows and asks; the operations are those of [`crate::access::entry`]. The secret of a token is
//! in one answer and nowhere else.

use askama::Template;
use hyper::StatusCode;

use super::frame::{Frame, see_done, set_cookie};
use super::{Call, Page, entry_refusal, staff_cookie, texts, told};
use crate::access::Role;
use crate::access::accounts::{Account, Token};
use crate::access::entry::{self, EntryError};
use crate::access::passwords::PasswordError;
use crate::api::{Centre, refusal_of};
use crate::refusal::Refusal;

#[derive(Template)]
#[template(path = "vendor_accounts.html")]
struct List {
    frame: Frame,
    accounts: Vec<Account>,
    tokens: Vec<Token>,
    roles: [Role; 3],
    /// The token that was just made.
    made: Option<String>,
}

/// `GET /vendor/accounts`, and the same with what has come of the form.
pub(super) async fn list(
    call: &Call<'_>,
    status: StatusCode,
    error: Option<String>,
    made: Option<String>,
) -> Result<Page, Refusal> {
    let (accounts, tokens) = entry::list(&call.centre.books).await.map_err(refusal_of)?;
    let mut frame = Frame::for_staff(call);
    frame.error = error;
    let roles = [Role::Reader, Role::Clerk, Role::Admin];
    let page = List { frame, accounts, tokens, roles, made };
    page.frame.answer(status, &page)
}

/// `POST /vendor/accounts`.
pub(super) async fn change(call: &Call<'_>) -> Result<Page, Refusal> {
    let Centre { books, gate, .. } = call.centre;
    let (form, actor, now) = (&call.form, call.actor()?, call.now);
    let name = form.text("name").unwrap_or_default();
    let role = form.text("role").map(|text| text.parse::<Role>());
    let role = role.transpose().map_err(|_| Refusal::BadMember("role"))?;
    let password = form.raw("password").filter(|password| !password.is_empty());
    let done = match form.text("action") {
        Some("add") => {
            let role = role.ok_or(Refusal::BadMember("role"))?;
            let password = password.unwrap_or_default();
            entry::add_account(books, gate, name, role, password, actor, now)
                .await
                .map(|()| "account_added")
        }
        Some("change") => entry::change_account(books, gate, name, role, password, actor, now)
            .await
            .map(|()| "account_changed"),
        Some("remove") => {
            entry::remove_account(books, gate, name, actor, now).await.map(|()| "account_removed")
        }
        Some("token") => {
            let days = match form.text("days") {
                None => None,
                Some(text) => {
                    let days = text.parse().ok().filter(|days| (1..=DAYS_MAX).contains(days));
                    Some(days.ok_or(Refusal::BadMember("days"))?)
                }
            };
            let label = form.text("label").unwrap_or_default();
            match entry::add_token(books, name, label, days, actor, now).await {
                Ok(secret) => return list(call, StatusCode::OK, None, Some(secret)).await,
                Err(error) => Err(error),
            }
        }
        Some("token_remove") => {
            let id = form.number("id").ok_or(Refusal::BadMember("id"))?;
            let done = entry::remove_token(books, id, actor, now).await;
            done.map(|()| "token_removed").map_err(EntryError::Books)
        }
        _ => return Err(Refusal::BadMember("action")),
    };
    match done {
        Ok(code) => Ok(see_done("/vendor/accounts", code)),
        Err(error) => {
            let (status, text) = error_of(call, error)?;
            list(call, status, Some(text), None).await
        }
    }
}

/// Longest life of a token, ten years; one without an end has none.
const DAYS_MAX: u32 = 3650;

/// What to tell a person, where it is theirs to mend.
fn error_of(call: &Call<'_>, error: EntryError) -> Result<(StatusCode, String), Refusal> {
    match error {
        EntryError::Books(error) => told(call, error),
        error @ (EntryError::Label
        | EntryError::Name
        | EntryError::Wrong
        | EntryError::Password(PasswordError::Weak(_))) => {
            Ok((StatusCode::BAD_REQUEST, texts::entry(call.language, &error)))
        }
        error @ (EntryError::Password(_) | EntryError::Random(_) | EntryError::TooMany(_)) => {
            Err(entry_refusal(error)?)
        }
    }
}

#[derive(Template)]
#[template(path = "vendor_password.html")]
struct Password {
    frame: Frame,
}

/// `GET /vendor/password`, and the same with what is wrong with the form.
pub(super) fn password(
    call: &Call<'_>,
    status: StatusCode,
    error: Option<String>,
) -> Result<Page, Refusal> {
    let mut frame = Frame::for_staff(call);
    frame.error = error;
    let page = Password { frame };
    page.frame.answer(status, &page)
}

/// `POST /vendor/password`.
pub(super) async fn change_password(call: &Call<'_>) -> Result<Page, Refusal> {
    let Centre { books, gate, .. } = call.centre;
    let old = call.form.raw("old").unwrap_or_default();
    let new = call.form.raw("new").unwrap_or_default();
    if call.form.raw("again") != Some(new) {
        let text = call.pick("The new passwords differ.", "Новые пароли не совпадают.");
        return password(call, StatusCode::BAD_REQUEST, Some(text.to_owned()));
    }
    match entry::change_own_password(books, gate, old, new, &call.actor()?, call.now).await {
        Ok(id) => {
            let mut page = see_done("/vendor/password", "password_changed");
            set_cookie(&mut page, &staff_cookie(call, &id));
            Ok(page)
        }
        Err(error) => {
            let (status, text) = error_of(call, error)?;
            password(call, status, Some(text))
        }
    }
}
