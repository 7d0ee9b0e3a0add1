//! The console: pages for an administrator's browser, made on the server.
//!
//! Shows and changes nothing. The classes `ul.series > li.serie`,
//! `ul.licences > li.licence.enabled|disabled.virtual` and `li.session` are relied on by
//! monitoring that reads the page; they stay.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use licence_core::key::KeyNo;
use licence_core::language::Language;
use licence_core::time::{MonoTime, Utc};
use tokio::sync::Mutex;

use crate::access::language_switch;
use crate::api::errors::ApiError;
use crate::api::params::Params;
use crate::api::rest::server_view;
use crate::api::routes::Page;
use crate::api::views::{ConnectionView, LicenceView, ServerInfoView, SessionView};
use crate::api::{Answer, Call, VERSION};
use crate::driver::{Handle, SeriesTotals};
use crate::{clock, host};

/// Sessions shown below one key. A page with more is no use to a person; the API has them all.
const SESSIONS_SHOWN_MAX: usize = 500;

/// The page runs nothing and loads nothing but its own style.
const CSP: &str = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'";

/// How old the overview may be, in milliseconds: younger than anyone presses "reload".
const LOOK_MILLIS: u64 = 1000;

const STYLE: &str = include_str!("../../templates/console.css");

/// Answers a page or a form of the console.
pub(crate) async fn answer(call: &Call<'_>, page: Page, body: &[u8]) -> Result<Answer, ApiError> {
    let _ = body;
    match page {
        Page::Language => language_switch(call),
        Page::Overview => overview(call).await,
        Page::Style => Ok(style()),
        Page::SystemInfo => system_info(call),
        _ => Err(ApiError::unfinished()),
    }
}

/// `GET /`: series, keys, who uses them.
async fn overview(call: &Call<'_>) -> Result<Answer, ApiError> {
    let params = Params::read(call.query, b"")?;
    let seen = call.app.overview.look(&call.app.handle, clock::mono()).await?;
    let page = OverviewPage {
        t: Texts(call.language),
        version: VERSION,
        computer_name: &call.app.host.computer_name,
        shows_menu: is_shown(&params, "menu")?,
        shows_header: is_shown(&params, "header")?,
        connection_count: seen.connections.len(),
        session_count: seen.sessions.len(),
        series: group(&seen.totals, &seen.licences, &seen.connections, &seen.sessions),
    };
    html(&page)
}

/// What the overview shows.
#[derive(Debug)]
struct Seen {
    totals: Vec<SeriesTotals>,
    licences: Vec<LicenceView>,
    connections: Vec<ConnectionView>,
    sessions: Vec<SessionView>,
}

/// The last look at the state. The page needs no password by default and lists everything, so it
/// asks the driver at most once in [`LOOK_MILLIS`], whoever and however many ask for it.
#[derive(Debug, Default)]
pub struct OverviewCache {
    last: Mutex<Option<(MonoTime, Arc<Seen>)>>,
}

impl OverviewCache {
    async fn look(&self, handle: &Handle, now: MonoTime) -> Result<Arc<Seen>, ApiError> {
        // Held while the driver answers: whoever comes meanwhile takes the same answer.
        let mut last = self.last.lock().await;
        if let Some((at, seen)) = last.as_ref()
            && now.since(*at) < Duration::from_millis(LOOK_MILLIS)
        {
            return Ok(Arc::clone(seen));
        }
        let seen = Arc::new(Seen {
            totals: handle.overview().await?,
            licences: handle.licences(None, false).await?,
            connections: views(handle.connections().await?),
            sessions: views(handle.sessions().await?),
        });
        *last = Some((now, Arc::clone(&seen)));
        Ok(seen)
    }
}

/// `GET /systeminfo`: facts of the server; answers while it is alive.
fn system_info(call: &Call<'_>) -> Result<Answer, ApiError> {
    let info = server_view(&call.app.host, host::local_ipv4(), call.app.started);
    html(&SystemInfoPage { t: Texts(call.language), version: VERSION, info })
}

/// `GET /console.css`.
fn style() -> Answer {
    let mut answer = Response::new(STYLE.into());
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    answer
}

fn views<S, V: From<S>>(states: Vec<S>) -> Vec<V> {
    states.into_iter().map(V::from).collect()
}

/// `?menu=false` and `?header=false` leave parts out, for pages that embed the console.
fn is_shown(params: &Params, name: &str) -> Result<bool, ApiError> {
    Ok(params.text(name)? != Some("false"))
}

fn html(page: &impl Template) -> Result<Answer, ApiError> {
    let body = page.render().map_err(|error| {
        log::error!("a page cannot be made: {error}");
        ApiError::internal()
    })?;
    let mut answer = Response::new(body.into());
    *answer.status_mut() = StatusCode::OK;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(CSP));
    Ok(answer)
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage<'a> {
    t: Texts,
    version: &'static str,
    computer_name: &'a str,
    shows_menu: bool,
    shows_header: bool,
    connection_count: usize,
    session_count: usize,
    series: Vec<SeriesBlock<'a>>,
}

#[derive(Template)]
#[template(path = "systeminfo.html")]
struct SystemInfoPage {
    t: Texts,
    version: &'static str,
    info: ServerInfoView,
}

struct SeriesBlock<'a> {
    totals: &'a SeriesTotals,
    keys: Vec<KeyBlock<'a>>,
    connections: Vec<&'a ConnectionView>,
}

struct KeyBlock<'a> {
    key: &'a LicenceView,
    used: usize,
    sessions: Vec<&'a SessionView>,
    more: usize,
}

fn group<'a>(
    totals: &'a [SeriesTotals],
    licences: &'a [LicenceView],
    connections: &'a [ConnectionView],
    sessions: &'a [SessionView],
) -> Vec<SeriesBlock<'a>> {
    let block = |totals: &'a SeriesTotals| SeriesBlock {
        totals,
        keys: licences
            .iter()
            .filter(|key| key.key_id == Some(totals.series))
            .map(|key| key_block(key, sessions))
            .collect(),
        connections: connections.iter().filter(|c| c.key_id == totals.series).collect(),
    };
    totals.iter().map(block).collect()
}

fn key_block<'a>(key: &'a LicenceView, sessions: &'a [SessionView]) -> KeyBlock<'a> {
    let holds = |held: Option<KeyNo>| held.is_some() && held == key.key_no;
    let mut held: Vec<_> = sessions.iter().filter(|s| holds(s.used_licence)).collect();
    let used = held.len();
    held.truncate(SESSIONS_SHOWN_MAX);
    KeyBlock { key, used, more: used - held.len(), sessions: held }
}

/// Texts of the pages.
#[derive(Clone, Copy)]
struct Texts(Language);

impl Texts {
    fn lang(&self) -> &'static str {
        self.0.pick("ru", "en")
    }

    fn pick(&self, russian: &'static str, english: &'static str) -> &'static str {
        self.0.pick(russian, english)
    }

    fn kind(&self, key: &LicenceView) -> &'static str {
        match key.key_type {
            Some(3) => self.pick("Основной", "Main"),
            Some(4) => self.pick("Дополнительный", "Additional"),
            Some(5) => self.pick("Демонстрационный", "Demo"),
            _ => self.pick("Неизвестный", "Unknown"),
        }
    }

    /// The state of a key in the manual's words.
    fn state(&self, key: &LicenceView) -> String {
        if let Some(error) = &key.open_error {
            return format!("{}: {error}", self.pick("Недоступен", "Unavailable"));
        }
        if !key.workable {
            let text = if key.medium == "USB" {
                self.pick(
                    "Недоступен: Аппаратный ключ неисправен",
                    "Unavailable: the USB token does not work",
                )
            } else {
                self.pick(
                    "Недоступен: Изменена конфигурация компьютера",
                    "Unavailable: the computer's configuration has changed",
                )
            };
            return text.to_owned();
        }
        if key.expired {
            let text = self.pick("Срок действия истёк", "Its term is over since");
            let date = key.expire_date.map(day).unwrap_or_default();
            return format!("{text} {date}").trim_end().to_owned();
        }
        if key.enabled {
            let text = self.pick("Доступен", "Available");
            return match key.expire_date {
                Some(end) => {
                    format!("{text} {} {}", self.pick("до", "until"), day(end))
                }
                None => text.to_owned(),
            };
        }
        self.pick("Недоступен", "Unavailable").to_owned()
    }
}

/// `02.04.2018`, as people in Russia write a day.
fn day(at: Utc) -> String {
    let shown = at.to_string();
    let date = shown.get(..10).unwrap_or("");
    let parts: Vec<_> = date.split('-').rev().collect();
    parts.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn day_is_written_as_in_the_manual_of_the_console() {
        assert_eq!(day("2018-04-02T20:41:13.272Z".parse().unwrap()), "02.04.2018");
    }
}
