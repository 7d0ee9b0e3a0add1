//! The console: pages for an administrator's browser, made on the server.
//!
//! Dispatches; each page is a module beside this one. The pages work without script; with it they
//! refresh themselves. The classes `ul.series > li.serie`,
//! `ul.licences > li.licence.enabled|disabled.virtual` and `li.session` are relied on by
//! monitoring that reads the first page; they stay.

mod accounts;
mod cluster;
mod cluster_events;
mod cluster_sessions;
mod connections;
mod events;
pub(crate) mod frame;
mod help;
mod ismp;
mod keys;
mod log;
mod login;
mod once;
mod overview;
mod parts;
mod password;
mod picture;
pub(crate) mod plot;
mod reports;
mod rules;
mod sessions;
mod settings;
mod shown;
mod span;
mod systeminfo;
mod table;
pub(crate) mod texts;

use askama::Template;
use hyper::Response;
use hyper::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};

use self::frame::Frame;
pub use self::once::MadeTokens;
pub use self::overview::OverviewCache;
use self::texts::Texts;
use crate::access::{self, Via};
use crate::api::errors::ApiError;
use crate::api::routes::Page;
use crate::api::{Answer, Call};

const ICON: &str = include_str!("../../templates/icon.svg");
const SCRIPT: &str = include_str!("../../templates/console.js");
const STYLE: &str = include_str!("../../templates/console.css");

/// Answers a page or a form of the console.
pub(crate) async fn answer(call: &Call<'_>, page: Page, body: &[u8]) -> Result<Answer, ApiError> {
    if let Some(elsewhere) = insist(call, page)? {
        return Ok(elsewhere);
    }
    match page {
        Page::Icon => Ok(asset(ICON, "image/svg+xml")),
        Page::Script => Ok(asset(SCRIPT, "text/javascript; charset=utf-8")),
        Page::Style => Ok(asset(STYLE, "text/css; charset=utf-8")),
        Page::Language => access::language_switch(call),
        Page::Overview => overview::page(call).await,
        Page::Keys => keys::list(call).await,
        Page::Key => keys::one(call).await,
        Page::InstallForm => keys::install_form(call).await,
        Page::Install => keys::install(call, body).await,
        Page::InstallRequest => keys::request(call, body).await,
        Page::InstallAnswer => keys::install_answer(call, body).await,
        Page::AccessCode => keys::access_code(call, body).await,
        Page::KeyRemove => keys::remove(call, body).await,
        Page::KeyReserveCode => keys::reserve_code(call, body).await,
        Page::KeySpareCode => keys::spare_code(call, body).await,
        Page::InstallDemo => keys::install_demo(call, body).await,
        Page::KeyUpdate => keys::update(call, body).await,
        Page::Connections => connections::page(call).await,
        Page::Sessions => sessions::list(call).await,
        Page::Session => sessions::one(call).await,
        Page::SessionEnd => sessions::end(call, body).await,
        Page::Help => help::page(call).await,
        Page::LoginForm => login::form(call).await,
        Page::Login => login::login(call, body).await,
        Page::Logout => login::logout(call, body),
        Page::PasswordForm => password::form(call).await,
        Page::Password => password::change(call, body).await,
        Page::Events => events::answer(call).await,
        Page::Reports => reports::answer(call).await,
        Page::Cluster => cluster::answer(call).await,
        Page::ClusterEvents => cluster_events::answer(call).await,
        Page::ClusterKeptEnd => cluster::free_kept(call, body).await,
        Page::ClusterSession => cluster_sessions::one(call).await,
        Page::ClusterSessionEnd => cluster_sessions::end(call, body).await,
        Page::ClusterSessions => cluster_sessions::list(call).await,
        Page::Ismp => ismp::answer(call).await,
        Page::IsmpChange => ismp::change(call, body).await,
        Page::Rules => rules::answer(call).await,
        Page::RulesChange => rules::change(call, body).await,
        Page::Settings => settings::answer(call).await,
        Page::SettingsChange => settings::change(call, body).await,
        Page::Restart => settings::restart(call, body).await,
        Page::Access => accounts::answer(call).await,
        Page::AccessChange => accounts::change(call, body).await,
        Page::Log => log::answer(call).await,
        Page::SystemInfo => systeminfo::answer(call).await,
    }
}

/// Whoever has logged in with the password of the manual sees nothing before it is changed. Who
/// sends the password with each request is a program, which could not follow.
fn insist(call: &Call<'_>, page: Page) -> Result<Option<Answer>, ApiError> {
    let is_free = matches!(
        page,
        Page::Icon
            | Page::Language
            | Page::Login
            | Page::LoginForm
            | Page::Logout
            | Page::Password
            | Page::PasswordForm
            | Page::Script
            | Page::Style
    );
    let has_logged_in = matches!(call.actor.via, Via::Login { .. });
    if is_free || !has_logged_in || !call.actor.has_default_password {
        return Ok(None);
    }
    Ok(Some(access::see_other(&Frame::bare(call)?.link("/password"))))
}

fn asset(text: &'static str, kind: &'static str) -> Answer {
    let mut answer = Response::new(text.into());
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    // The pages name the version in the address, so that an upgrade is seen at once.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    answer
}

/// An error as a page, where a person's browser asked for one of the console's; nothing where a
/// program asked. The page shows no more than the error itself, because whoever gets it may not
/// have been let in.
pub(crate) fn error_page(call: &Call<'_>, error: &ApiError) -> Option<Answer> {
    let is_browser = call
        .headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|accepted| accepted.contains("text/html"));
    let path = call.path;
    let of_programs = ["/api", "/client", "/health", "/metrics"];
    let is_programs = of_programs.iter().any(|first| {
        path.strip_prefix(first).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    if !is_browser || is_programs {
        return None;
    }
    let language = error.language.unwrap_or(call.language);
    let frame = Frame::bare(call).ok()?;
    let page = ErrorPage {
        status: error.status.as_u16(),
        class: &error.class,
        text: language.pick(&error.russian, &error.english),
        advice: advice(frame.t, error),
        frame,
    };
    let mut answer = error.response(language);
    *answer.body_mut() = page.render().ok()?.into();
    frame::set_page_headers(&mut answer);
    Some(answer)
}

/// What somebody can do about an error of this status.
fn advice(t: Texts, error: &ApiError) -> &'static str {
    match error.status.as_u16() {
        400 => t.0.pick(
            "Вернитесь назад, исправьте введённое и повторите.",
            "Go back, correct what was entered and try again.",
        ),
        401 => t.0.pick("Войдите в консоль и повторите.", "Log in and try again."),
        403 => t.0.pick(
            "Войдите под пользователем с нужной ролью или обратитесь к администратору сервера.",
            "Log in as a user with the role that is needed, or ask the server's administrator.",
        ),
        404 => t.0.pick(
            "Возможно, сеанс завершён или ключ удалён. Откройте список заново.",
            "Perhaps the session has ended or the key has been removed. Open the list again.",
        ),
        429 => t.0.pick("Подождите и повторите.", "Wait and try again."),
        503 => t.0.pick(
            "Повторите через несколько секунд; если не помогает, проверьте состояние сервера.",
            "Try again in some seconds; if that does not help, look at the server's health.",
        ),
        _ => t.0.pick(
            "Подробности — в логе сервера; состояние — на странице «О сервере».",
            "The server's log tells more; its health is on the page “About the server”.",
        ),
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    frame: Frame,
    status: u16,
    class: &'a str,
    text: &'a str,
    advice: &'a str,
}
