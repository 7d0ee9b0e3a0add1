//! Sessions: who holds which seat since when, and their end by an operator.

use askama::Template;
use hyper::StatusCode;
use licence_core::key::KeyNo;
use licence_core::protocol::SessionInfo;
use licence_core::time::Utc;

use crate::access::csrf;
use crate::api::errors::ApiError;
use crate::api::form::Form;
use crate::api::routes::Page;
use crate::api::{Answer, Call};
use crate::clock;
use crate::console::frame::{self, Frame};
use crate::console::table::{Column, Listing, Picked, Wanted, by_text};
use crate::console::texts::seconds_between;
use crate::driver::{DriverError, SessionState};
use crate::looks::Everyone;

/// Most characters of the reason for ending a session: as many as the audit trail keeps.
const REASON_CHARS_MAX: usize = crate::driver::NOTE_CHARS_MAX;

/// A session as the list sorts and searches it.
#[derive(Clone, Copy)]
struct Line<'a> {
    state: &'a SessionState,
    address: &'a str,
}

impl<'a> Line<'a> {
    fn info(&self) -> &'a SessionInfo {
        &self.state.session.info
    }

    fn user(&self) -> &'a str {
        self.info().user_name.as_deref().unwrap_or_default()
    }
}

/// A session of the page that is shown.
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
    /// Until now, in seconds.
    open_seconds: u64,
    /// Until the end unless it is touched, in seconds.
    left_seconds: u64,
}

impl Row {
    fn new(line: Line<'_>, now: Utc) -> Self {
        let SessionState { id, session, ends } = line.state;
        let info = line.info();
        Self {
            id: id.to_string(),
            number: info.session_number.clone(),
            user: line.user().to_owned(),
            computer: info.computer_name.clone(),
            address: line.address.to_owned(),
            application: info.app_name.clone(),
            infobase: info.info_base_connection_str.clone(),
            series: session.series.to_string(),
            key_no: session.key_no,
            opened: session.opened,
            open_seconds: seconds_between(session.opened, now),
            left_seconds: seconds_between(now, *ends),
        }
    }
}

fn columns<'a>() -> [Column<Line<'a>>; 9] {
    [
        Column::new("number", "Сеанс №", "Session no.", |a, b| {
            by_text(&a.info().session_number, &b.info().session_number)
        }),
        Column::new("user", "Пользователь", "User", |a, b| by_text(a.user(), b.user())),
        Column::new("computer", "Компьютер", "Computer", |a, b| {
            by_text(&a.info().computer_name, &b.info().computer_name)
        }),
        Column::new("address", "Адрес", "Address", |a, b| by_text(a.address, b.address)),
        Column::new("application", "Приложение", "Application", |a, b| {
            by_text(&a.info().app_name, &b.info().app_name)
        }),
        Column::new("infobase", "Информационная база", "Infobase", |a, b| {
            by_text(&a.info().info_base_connection_str, &b.info().info_base_connection_str)
        }),
        Column::new("seat", "Лицензия", "Licence", |a, b| {
            let seat = |line: &Line<'_>| (line.state.session.series, line.state.session.key_no);
            seat(a).cmp(&seat(b))
        }),
        Column::new("opened", "Открыт", "Opened", |a, b| {
            a.state.session.opened.cmp(&b.state.session.opened)
        }),
        Column::new("ends", "Истекает", "Expires", |a, b| a.state.ends.cmp(&b.state.ends)),
    ]
}

/// The rows of the page that is wanted.
fn pick(everyone: &Everyone, wanted: &Wanted, now: Utc) -> Picked<Row> {
    let fits = |state: &&SessionState| {
        let session = &state.session;
        wanted.series.is_none_or(|series| session.series == series)
            && wanted.key.is_none_or(|key| session.key_no == Some(key))
    };
    let line = |state| Line { state, address: everyone.address_of(state) };
    let lines = everyone.sessions.iter().filter(fits).map(line).collect();
    let texts = |line: &Line<'_>, text: &mut String| {
        let info = line.info();
        let series = line.state.session.series.to_string();
        let searched = [
            &*info.session_number,
            line.user(),
            &info.computer_name,
            line.address,
            &info.app_name,
            &info.info_base_connection_str,
            &series,
        ];
        for part in searched {
            text.push_str(part);
            text.push('\n');
        }
    };
    wanted.pick(&columns(), lines, texts).map(|line| Row::new(line, now))
}

/// `GET /sessions`.
pub(super) async fn list(call: &Call<'_>) -> Result<Answer, ApiError> {
    let wanted = Wanted::read("/sessions", call.query)?;
    let frame = Frame::new(call, Page::Sessions).await?;
    let looks = &call.app.looks;
    let permit = looks.permit().await?;
    let everyone = looks.recent(&call.app.handle).await?;
    let (asked, now) = (wanted.clone(), clock::utc());
    let rows = everyone.sessions.len();
    let picked = looks.work(permit, rows, move || pick(&everyone, &asked, now)).await?;
    let listing = wanted.listing(&frame, &columns(), picked);
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
    call.app.forget_looks().await;
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
        address: connection.map(|state| state.connection.peer.as_ref().to_owned()),
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
