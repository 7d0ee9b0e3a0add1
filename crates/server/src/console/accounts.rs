//! The page of who may come in: users, tokens, and the rules that hold before any password.
//!
//! Shows and asks; the operations, and what a name or password may be, are those of
//! [`crate::access::accounts`]. The secret of a token is in one answer: see [`super::once`].

use askama::Template;
use hyper::StatusCode;
use licence_core::language::Language;

use super::frame::{Frame, see_done};
use super::once::MadeToken;
use super::parts::{Choice, role_choices, told};
use super::texts::Texts;
use crate::access::csrf::{self, check_form};
use crate::access::{Role, accounts, see_other};
use crate::api::errors::ApiError;
use crate::api::form::Form;
use crate::api::params::Params;
use crate::api::routes::Page;
use crate::api::{Answer, Call};
use crate::clock;
use crate::config::{Authorization, Config, Scope};

/// `GET /access`.
pub(super) async fn answer(call: &Call<'_>) -> Result<Answer, ApiError> {
    let params = Params::read(call.query, b"")?;
    let made = match params.text("made")? {
        Some(id) => call.app.made_tokens.take(id, &call.actor.name, clock::mono()),
        None => None,
    };
    show(call, StatusCode::OK, Shown { made, ..Shown::default() }).await
}

/// `POST /access`.
pub(super) async fn change(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let form = Form::read(body)?;
    check_form(call, &form)?;
    let action = form.text("action").unwrap_or("");
    let done = match action {
        "user" => put_user(call, &form).await.map(|()| "user_saved"),
        "user_remove" => {
            let name = form.text("name").unwrap_or("");
            accounts::remove_user(call.app, name, &call.actor).await.map(|()| "user_removed")
        }
        "token_remove" => {
            let id = form.text("id").unwrap_or("");
            accounts::remove_token(call.app, id, &call.actor).await.map(|()| "token_removed")
        }
        "token" => match make_token(call, &form).await {
            // To a page of its own: reloading it makes no second token.
            Ok(made) => {
                let id = csrf::secret().map_err(|error| ApiError::broken(&error))?;
                let address = Frame::bare(call)?.link(format!("/access?made={id}"));
                call.app.made_tokens.keep(id, &call.actor.name, made, clock::mono());
                return Ok(see_other(&address));
            }
            Err(error) => Err(error),
        },
        _ => Err(ApiError::bad_request(
            "The field action of the form is not known.",
            "Поле action формы неизвестно.",
        )),
    };
    match done {
        Ok(code) => see_done(call, "/access", code),
        Err(error) => {
            let shown = Shown { form: Some(&form), error: Some(&error), made: None };
            show(call, error.status, shown).await
        }
    }
}

async fn put_user(call: &Call<'_>, form: &Form) -> Result<(), ApiError> {
    let name = form.text("name").unwrap_or("");
    let role = form.text("role").unwrap_or("").parse::<Role>().map_err(|_| {
        ApiError::bad_request(
            "The role must be reader, operator or administrator.",
            "Роль должна быть reader, operator или administrator.",
        )
    })?;
    let password = form.raw("password").filter(|password| !password.is_empty());
    accounts::put_user(call.app, name, role, password, &call.actor).await.map(drop)
}

async fn make_token(call: &Call<'_>, form: &Form) -> Result<MadeToken, ApiError> {
    let name = form.text("name").unwrap_or("");
    let scope = accounts::scope_named(form.text("scope").unwrap_or("")).ok_or_else(|| {
        ApiError::bad_request(
            "The scope must be ismp, metrics, reader, operator or administrator.",
            "Область должна быть ismp, metrics, reader, operator или administrator.",
        )
    })?;
    let days = match form.text("days") {
        None => accounts::TOKEN_DAYS,
        Some(text) => text.parse().ok().filter(|days| *days > 0).ok_or_else(|| {
            ApiError::bad_request(
                "The days must be a whole number above zero.",
                "Число дней должно быть целым и больше нуля.",
            )
        })?,
    };
    let expires = clock::utc().plus_days(days);
    let made = accounts::make_token(call.app, name, scope, Some(expires), &call.actor).await?;
    Ok(MadeToken {
        name: name.to_owned(),
        expires: Texts(call.language).moment(&made.expires),
        secret: made.secret,
    })
}

/// What an answer to a form shows beside the lists.
#[derive(Default)]
struct Shown<'a> {
    form: Option<&'a Form>,
    error: Option<&'a ApiError>,
    made: Option<MadeToken>,
}

async fn show(call: &Call<'_>, status: StatusCode, shown: Shown<'_>) -> Result<Answer, ApiError> {
    let t = call.language;
    let texts = Texts(t);
    let action = shown.form.and_then(|form| form.text("action")).unwrap_or("").to_owned();
    let entered = |of: &str, name: &str| {
        let form = shown.form.filter(|_| action == of);
        form.and_then(|form| form.text(name)).unwrap_or("").to_owned()
    };
    let page = AccessPage {
        frame: Frame::new(call, Page::Access).await?,
        t,
        users: accounts::users(call.app)
            .into_iter()
            .map(|user| UserRow {
                role_text: texts.role(&user.role),
                roles: role_choices(t, user.role.name()),
                is_self: user.name == call.actor.name,
                has_default_password: user.has_default_password,
                name: user.name,
            })
            .collect(),
        tokens: accounts::tokens(call.app)
            .into_iter()
            .map(|token| TokenRow {
                scope: scope_text(texts, token.scope),
                expires: texts.moment(&token.expires),
                is_expired: token.is_expired,
                id: token.id,
                name: token.name,
            })
            .collect(),
        facts: facts(t, &call.app.settings.get()),
        user_name: entered("user", "name"),
        user_roles: role_choices(t, &entered("user", "role")),
        token_name: entered("token", "name"),
        token_scopes: role_choices(t, &entered("token", "scope")),
        token_days: Some(entered("token", "days"))
            .filter(|days| !days.is_empty())
            .unwrap_or_else(|| accounts::TOKEN_DAYS.to_string()),
        error: shown.error.map(|error| told(t, error)),
        made: shown.made,
        action,
    };
    page.frame.answer(status, &page)
}

fn scope_text(texts: Texts, scope: Scope) -> &'static str {
    match scope {
        Scope::Ismp => texts.0.pick("ключи сессии ИС МП", "session keys of ИС МП"),
        Scope::Metrics => texts.0.pick("только метрики", "metrics only"),
        Scope::Role(role) => texts.role(&role),
    }
}

/// The rules in force, in words.
fn facts(t: Language, config: &Config) -> Vec<(&'static str, String)> {
    let console = &config.console;
    let yes = |is: bool| Texts(t).yes(is).to_owned();
    let listed = |texts: &[String]| {
        if texts.is_empty() { "—".to_owned() } else { texts.join(", ") }
    };
    let asks = match console.authorization {
        Authorization::Always => t.pick("для каждой страницы", "for every page"),
        Authorization::Changes => {
            t.pick("для настроек и служебных операций", "for settings and operations")
        }
        Authorization::Off => t.pick("никогда", "never"),
    };
    let addresses = if console.allowed_addresses.is_empty() {
        t.pick("любые", "all").to_owned()
    } else {
        t.pick("только перечисленные в настройках", "only those in the settings").to_owned()
    };
    vec![
        (t.pick("Консоль спрашивает пароль", "The console asks for a password"), asks.to_owned()),
        (
            t.pick("Только с этого компьютера", "From this computer only"),
            yes(console.local_access_only),
        ),
        (t.pick("Допускаемые адреса", "Addresses let in"), addresses),
        (t.pick("Проверка имени узла", "Host names are checked"), yes(console.check_dns_rebinding)),
        (t.pick("Имена этого сервера", "Names of this server"), listed(&console.host_names)),
        (t.pick("Только TLS", "TLS only"), yes(config.parts.tls.require_tls)),
        (t.pick("Внешнее API включено", "The REST API is on"), yes(config.api_enabled)),
    ]
}

#[derive(Template)]
#[template(path = "access.html")]
struct AccessPage {
    frame: Frame,
    t: Language,
    users: Vec<UserRow>,
    tokens: Vec<TokenRow>,
    facts: Vec<(&'static str, String)>,
    /// The form that was sent, if it was refused.
    action: String,
    user_name: String,
    user_roles: Vec<Choice>,
    token_name: String,
    token_scopes: Vec<Choice>,
    token_days: String,
    error: Option<String>,
    made: Option<MadeToken>,
}

struct UserRow {
    name: String,
    role_text: &'static str,
    roles: Vec<Choice>,
    is_self: bool,
    has_default_password: bool,
}

struct TokenRow {
    id: String,
    name: String,
    scope: &'static str,
    expires: String,
    is_expired: bool,
}
