//! REST: users, tokens, passwords.
//!
//! Reads and shows; what may be changed is decided in [`crate::access::accounts`]. Parameters come
//! in the body alone: an address with a password in it would end up in logs.

use hyper::StatusCode;
use licence_core::time::Utc;
use serde::{Deserialize, Serialize};

use crate::access::{Role, accounts};
use crate::api::errors::ApiError;
use crate::api::routes::Accounts;
use crate::api::{Answer, Call, json, params};
use crate::clock;
use crate::config::Scope;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct UsersView {
    users: Vec<UserView>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct UserView {
    name: String,
    role: &'static str,
    default_password: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct UserPut<'a> {
    name: &'a str,
    role: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Named<'a> {
    name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TokensView {
    tokens: Vec<TokenView>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TokenView {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    scope: &'static str,
    expires: Utc,
    expired: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct MadeView {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    scope: &'static str,
    expires: Utc,
    token: String,
}

#[derive(Serialize)]
struct Gone<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutUser {
    role: String,
    password: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ChangePassword {
    password: String,
    new_password: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MakeToken {
    name: String,
    scope: String,
    days: Option<u32>,
    expires: Option<String>,
}

/// Answers one of these addresses.
pub(crate) async fn answer(
    call: &Call<'_>,
    what: Accounts,
    body: &[u8],
) -> Result<Answer, ApiError> {
    match what {
        Accounts::ChangePassword => change_password(call, body).await,
        Accounts::MakeToken => make_token(call, body).await,
        Accounts::PutUser => put_user(call, body).await,
        Accounts::RemoveToken => {
            accounts::remove_token(call.app, &call.argument, &call.actor).await?;
            json(StatusCode::ACCEPTED, &Gone { id: &call.argument })
        }
        Accounts::RemoveUser => {
            accounts::remove_user(call.app, &call.argument, &call.actor).await?;
            json(StatusCode::ACCEPTED, &Named { name: &call.argument })
        }
        Accounts::Tokens => tokens(call),
        Accounts::Users => users(call),
    }
}

fn users(call: &Call<'_>) -> Result<Answer, ApiError> {
    let view = |user: accounts::UserLine| UserView {
        name: user.name,
        role: user.role.name(),
        default_password: user.has_default_password,
    };
    let users = accounts::users(call.app).into_iter().map(view).collect();
    json(StatusCode::OK, &UsersView { users })
}

async fn put_user(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let wanted: PutUser = params::message(body)?;
    let role: Role = wanted.role.parse().map_err(|error| {
        ApiError::bad_request(
            format!("Role: {error}."),
            "Role: ожидается reader, operator или administrator.",
        )
    })?;
    let (name, password) = (call.argument.as_str(), wanted.password.as_deref());
    let is_new = accounts::put_user(call.app, name, role, password, &call.actor).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::ACCEPTED };
    json(status, &UserPut { name, role: role.name() })
}

async fn change_password(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let wanted: ChangePassword = params::message(body)?;
    let (old, new) = (&wanted.password, &wanted.new_password);
    accounts::change_password(call.app, &call.actor, old, new).await?;
    json(StatusCode::ACCEPTED, &Named { name: &call.actor.name })
}

fn tokens(call: &Call<'_>) -> Result<Answer, ApiError> {
    let view = |token: accounts::TokenLine| TokenView {
        id: token.id,
        name: token.name,
        scope: accounts::scope_name(token.scope),
        expires: token.expires,
        expired: token.is_expired,
    };
    let tokens = accounts::tokens(call.app).into_iter().map(view).collect();
    json(StatusCode::OK, &TokensView { tokens })
}

async fn make_token(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let wanted: MakeToken = params::message(body)?;
    let scope = accounts::scope_named(&wanted.scope).ok_or_else(|| {
        ApiError::bad_request(
            "Scope: expected ismp, metrics, reader, operator or administrator.",
            "Scope: ожидается ismp, metrics, reader, operator или administrator.",
        )
    })?;
    let expires = end(&wanted)?;
    let made = accounts::make_token(call.app, &wanted.name, scope, expires, &call.actor).await?;
    json(StatusCode::CREATED, &made_view(made, wanted.name, scope))
}

fn end(wanted: &MakeToken) -> Result<Option<Utc>, ApiError> {
    match (wanted.days, wanted.expires.as_deref()) {
        (Some(_), Some(_)) => Err(ApiError::bad_request(
            "Days and Expires: only one of them.",
            "Days и Expires: укажите только одно из них.",
        )),
        // A length beyond the limit ends beyond the limit and is refused there.
        (Some(days), None) => Ok(Some(clock::utc().plus_days(days))),
        (None, Some(expires)) => expires.parse().map(Some).map_err(|error| {
            ApiError::bad_request(
                format!("Expires: {error}."),
                "Expires: ожидается момент вида 2018-04-02T20:41:13.272Z.",
            )
        }),
        (None, None) => Ok(None),
    }
}

fn made_view(made: accounts::Made, name: String, scope: Scope) -> MadeView {
    let scope = accounts::scope_name(scope);
    MadeView { id: made.id, name, scope, expires: made.expires, token: made.secret }
}
