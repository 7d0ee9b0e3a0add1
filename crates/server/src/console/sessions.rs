//! Sessions: who holds which seat since when, and their end by an operator.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use askama::Template;
use hyper::StatusCode;
use licence_core::key::KeyNo;
use licence_core::time::Utc;

use crate::access::csrf;
use crate::api::errors::ApiError;
use crate::api::form::Form;
use crate::api::routes::Page;
use crate::api::{Answer, Call};
use crate::clock;
use crate::console::frame::{self, Frame};
use crate::console::table::{Column, Listing, Wanted, by_text};
use crate::console::texts::seconds_between;
use crate::driver::{DriverError, SessionState};

/// Most characters of the reason for ending a session: as many as the audit trail keeps.
const REASON_CHARS_MAX: usize = crate::driver::NOTE_CHARS_MAX;

/// A session of the list.
struct Row {
    id: String,
    number: String,
    user: String,
    computer: String,
    address: String,
    application: String,
    infobase: String,
    series: String,
    key_no: Option<KeyNo>,
    opened: Utc,
    ends: Utc,
    /// Until now, in seconds.
    open_seconds: u64,
    /// Until the end unless it is touched, in seconds.
    left_seconds: u64,
}

const fn column(
    name: &'static str,
    russian: &'static str,
    english: &'static str,
    compare: fn(&Row, &Row) -> Ordering,
) -> Column<Row> {
    Column { name, russian, english, compare }
}

const COLUMNS: &[Column<Row>] = &[
    column("number", "Сеанс №", "Session no.", |a, b| by_text(&a.number, &b.number)),
    column("user", "Пользователь", "User", |a, b| by_text(&a.user, &b.user)),
    column("computer", "Компьютер", "Computer", |a, b| by_text(&a.computer, &b.computer)),
    column("address", "Адрес", "Address", |a, b| by_text(&a.address, &b.address)),
    column("application", "Приложение", "Application", |a, b| {
        by_text(&a.application, &b.application)
    }),
    column("infobase", "Информационная база", "Infobase", |a, b| {
        by_text(&a.infobase, &b.infobase)
    }),
    column("seat", "Лицензия", "Licence", |a, b| {
        (&a.series, a.key_no).cmp(&(&b.series, b.key_no))
    }),
    column("opened", "Открыт", "Opened", |a, b| a.opened.cmp(&b.opened)),
    column("ends", "Истекает", "Expires", |a, b| a.ends.cmp(&b.ends)),
];

/// `GET /sessions`.
pub(super) async fn list(call: &Call<'_>) -> Result<Answer, ApiError> {
    let wanted = Wanted::read("/sessions", call.query)?;
    let frame = Frame::new(call, Page::Sessions).await?;
    let handle = &call.app.handle;
    let peers: BTreeMap<_, _> = handle
        .connections()
        .await?
        .into_iter()
        .map(|state| (state.id, state.connection.peer))
        .collect();
    let mut states = handle.sessions().await?;
    states.retain(|state| {
        let session = &state.session;
        wanted.series.is_none_or(|series| session.series == series)
            && wanted.key.is_none_or(|key| session.key_no == Some(key))
    });
    let now = clock::utc();
    let row = |state: SessionState| {
        let SessionState { id, session, ends } = state;
        Row {
            id: id.to_string(),
            number: session.info.session_number,
            user: session.info.user_name.unwrap_or_default(),
            computer: session.info.computer_name,
            // A session may outlive its connection.
            address: peers.get(&session.connection).cloned().unwrap_or_default(),
            application: session.info.app_name,
            infobase: session.info.info_base_connection_str,
            series: session.series.to_string(),
            key_no: session.key_no,
            opened: session.opened,
            ends,
            open_seconds: seconds_between(session.opened, now),
            left_seconds: seconds_between(now, ends),
        }
    };
    let rows = states.into_iter().map(row).collect();
    let listing = wanted.list(&frame, COLUMNS, rows, |row| {
        vec![
            &row.number,
            &row.user,
            &row.computer,
            &row.address,
            &row.application,
            &row.infobase,
            &row.series,
        ]
    });
    let page = SessionsPage { frame, wanted, listing };
    page.frame.answer(StatusCode::OK, &page)
}

/// `GET /sessions/{ID}`.
pub(super) async fn one(call: &Call<'_>) -> Result<Answer, ApiError> {
    shown(call, StatusCode::OK, "", None).await
}

/// `POST /sessions/{ID}/end`.
pub(super) async fn end(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let form = Form::read(body)?;
    csrf::check_form(call, &form)?;
    let reason = form.text("reason").unwrap_or_default();
    let t = crate::console::texts::Texts(call.language);
    let wrong = if reason.is_empty() {
        Some(t.pick("Укажите причину.", "Say why.").to_owned())
    } else if reason.chars().count() > REASON_CHARS_MAX {
        let text = t.pick("Не больше стольких символов", "No more characters than");
        Some(format!("{text}: {REASON_CHARS_MAX}."))
    } else {
        None
    };
    if wrong.is_some() {
        return shown(call, StatusCode::BAD_REQUEST, reason, wrong).await;
    }
    let id = call.argument.clone();
    match call.app.handle.revoke(id, reason.to_owned(), &call.actor).await {
        Ok(_) => {}
        Err(DriverError::Refused(licence_core::refusal::Refusal::SessionNotFound)) => {
            return Err(gone());
        }
        Err(error) => return Err(error.into()),
    }
    call.app.overview.forget().await;
    frame::see_done(call, "/sessions", "session_ended")
}

fn gone() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "ESessionNotFound",
        "The session is not known or has ended.",
        "Сеанс не найден или завершён.",
    )
}

async fn shown(
    call: &Call<'_>,
    status: StatusCode,
    reason: &str,
    wrong: Option<String>,
) -> Result<Answer, ApiError> {
    let frame = Frame::new(call, Page::Session).await?;
    let handle = &call.app.handle;
    let found = handle.session(call.argument.clone()).await?;
    let SessionState { id, session, ends } = found.ok_or_else(gone)?;
    let connection = handle.connection(session.connection.to_string()).await?;
    let now = clock::utc();
    let page = SessionPage {
        id: id.to_string(),
        address: connection.map(|state| state.connection.peer),
        open_seconds: seconds_between(session.opened, now),
        left_seconds: seconds_between(now, ends),
        session: &session,
        ends,
        reason,
        wrong,
        frame,
    };
    page.frame.answer(status, &page)
}

#[derive(Template)]
#[template(path = "sessions.html")]
struct SessionsPage {
    frame: Frame,
    wanted: Wanted,
    listing: Listing<Row>,
}

#[derive(Template)]
#[template(path = "session.html")]
struct SessionPage<'a> {
    frame: Frame,
    id: String,
    session: &'a licence_core::session::Session,
    address: Option<String>,
    ends: Utc,
    open_seconds: u64,
    left_seconds: u64,
    reason: &'a str,
    wrong: Option<String>,
}
