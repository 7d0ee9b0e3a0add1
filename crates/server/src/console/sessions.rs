//! Sessions: who holds which seat since when, and their end by an operator. Line, rows and pages are
//! also those of the list of all nodes.

use askama::Template;
use hyper::StatusCode;
use licence_core::cluster::NodeId;
use licence_core::key::{KeyNo, KeySeries};
use licence_core::refusal::Refusal;
use licence_core::session::SessionId;
use licence_core::time::Utc;

use crate::access::csrf;
use crate::api::errors::ApiError;
use crate::api::form::Form;
use crate::api::routes::Page;
use crate::api::views::SessionView;
use crate::api::{Answer, Call};
use crate::clock;
use crate::console::frame::{self, Frame, encoded};
use crate::console::table::{Column, Listing, Picked, Wanted, by_text};
use crate::console::texts::{Texts, seconds_between};
use crate::driver::{DriverError, SessionState};
use crate::looks::Everyone;

/// Most characters of the reason for ending a session: as many as the audit trail keeps.
const REASON_CHARS_MAX: usize = crate::driver::NOTE_CHARS_MAX;

/// A session as the lists sort and search it.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    /// The node that it is at; empty in the list of one server.
    pub(super) node: &'a str,
    pub(super) place: Place<'a>,
    pub(super) number: &'a str,
    pub(super) user: &'a str,
    pub(super) computer: &'a str,
    pub(super) address: &'a str,
    pub(super) application: &'a str,
    pub(super) infobase: &'a str,
    pub(super) series: KeySeries,
    pub(super) key_no: Option<KeyNo>,
    pub(super) opened: Utc,
    pub(super) ends: Utc,
}

/// Where a session's own page is.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    /// A session of this server.
    Here(SessionId),
    /// A session as a node has told it: the node, unless it is this one, and the id.
    Told(Option<NodeId>, &'a str),
}

impl Place<'_> {
    fn href(self) -> String {
        match self {
            Self::Here(id) => format!("/sessions/{id}"),
            Self::Told(None, id) => format!("/sessions/{}", encoded(id)),
            Self::Told(Some(node), id) => format!("/cluster/sessions/{node}/{}", encoded(id)),
        }
    }
}

impl<'a> Line<'a> {
    fn of(state: &'a SessionState, address: &'a str) -> Self {
        let SessionState { id, session, ends } = state;
        let info = &session.info;
        Self {
            node: "",
            place: Place::Here(*id),
            number: &info.session_number,
            user: info.user_name.as_deref().unwrap_or_default(),
            computer: &info.computer_name,
            address,
            application: &info.app_name,
            infobase: &info.info_base_connection_str,
            series: session.series,
            key_no: session.key_no,
            opened: session.opened,
            ends: *ends,
        }
    }
}

/// A session of the page that is shown.
pub(super) struct Row {
    node: String,
    href: String,
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
        Self {
            node: line.node.to_owned(),
            href: line.place.href(),
            number: line.number.to_owned(),
            user: line.user.to_owned(),
            computer: line.computer.to_owned(),
            address: line.address.to_owned(),
            application: line.application.to_owned(),
            infobase: line.infobase.to_owned(),
            series: line.series.to_string(),
            key_no: line.key_no,
            opened: line.opened,
            open_seconds: seconds_between(line.opened, now),
            left_seconds: seconds_between(now, line.ends),
        }
    }
}

pub(super) fn columns<'a>() -> Vec<Column<Line<'a>>> {
    vec![
        Column::new("number", "Сеанс №", "Session no.", |a, b| by_text(a.number, b.number)),
        Column::new("user", "Пользователь", "User", |a, b| by_text(a.user, b.user)),
        Column::new("computer", "Компьютер", "Computer", |a, b| {
            by_text(a.computer, b.computer)
        }),
        Column::new("address", "Адрес", "Address", |a, b| by_text(a.address, b.address)),
        Column::new("application", "Приложение", "Application", |a, b| {
            by_text(a.application, b.application)
        }),
        Column::new("infobase", "Информационная база", "Infobase", |a, b| {
            by_text(a.infobase, b.infobase)
        }),
        Column::new("seat", "Лицензия", "Licence", |a, b| {
            (a.series, a.key_no).cmp(&(b.series, b.key_no))
        }),
        Column::new("opened", "Открыт", "Opened", |a, b| a.opened.cmp(&b.opened)),
        Column::new("ends", "Истекает", "Expires", |a, b| a.ends.cmp(&b.ends)),
    ]
}

/// The rows of the page that is wanted, of these lines.
pub(super) fn pick<'a>(
    lines: impl Iterator<Item = Line<'a>>,
    columns: &[Column<Line<'a>>],
    wanted: &Wanted,
    now: Utc,
) -> Picked<Row> {
    let fits = |line: &Line<'_>| {
        wanted.series.is_none_or(|series| line.series == series)
            && wanted.key.is_none_or(|key| line.key_no == Some(key))
    };
    let texts = |line: &Line<'_>, text: &mut String| {
        let series = line.series.to_string();
        let searched = [
            line.node,
            line.number,
            line.user,
            line.computer,
            line.address,
            line.application,
            line.infobase,
            &series,
        ];
        for part in searched {
            text.push_str(part);
            text.push('\n');
        }
    };
    wanted.pick(columns, lines.filter(fits).collect(), texts).map(|line| Row::new(line, now))
}

fn pick_own(everyone: &Everyone, wanted: &Wanted, now: Utc) -> Picked<Row> {
    let lines = everyone.sessions.iter().map(|state| Line::of(state, everyone.address_of(state)));
    pick(lines, &columns(), wanted, now)
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
    let picked = looks.work(permit, rows, move || pick_own(&everyone, &asked, now)).await?;
    let listing = wanted.listing(&frame, &columns(), picked);
    let all = call.app.peers.as_ref().map(|_| AllNodes::default());
    let page = SessionsPage { frame, wanted, listing, path: "/sessions", is_all: false, all };
    page.frame.answer(StatusCode::OK, &page)
}

/// `GET /sessions/{ID}`.
pub(super) async fn one(call: &Call<'_>) -> Result<Answer, ApiError> {
    shown(call, StatusCode::OK, "", None).await
}

/// `POST /sessions/{ID}/end`.
pub(super) async fn end(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let (reason, wrong) = read_reason(call, body)?;
    if wrong.is_some() {
        return shown(call, StatusCode::BAD_REQUEST, &reason, wrong).await;
    }
    let id = call.argument.clone();
    call.app.handle.revoke(id, reason, &call.actor).await.map_err(not_ended)?;
    call.app.forget_looks().await;
    frame::see_done(call, "/sessions", "session_ended")
}

/// The reason that a form of this console gives, and what is wrong with it, if anything.
pub(super) fn read_reason(
    call: &Call<'_>,
    body: &[u8],
) -> Result<(String, Option<String>), ApiError> {
    let form = Form::read(body)?;
    csrf::check_form(call, &form)?;
    let reason = form.text("reason").unwrap_or_default();
    Ok((reason.to_owned(), wrong_reason(call, reason)))
}

/// Why the driver ended no session.
pub(super) fn not_ended(error: DriverError) -> ApiError {
    if matches!(error, DriverError::Refused(Refusal::SessionNotFound)) {
        gone()
    } else {
        error.into()
    }
}

fn wrong_reason(call: &Call<'_>, reason: &str) -> Option<String> {
    let t = Texts(call.language);
    if reason.is_empty() {
        return Some(t.pick("Укажите причину.", "Say why.").to_owned());
    }
    let text = t.pick("Не больше стольких символов", "No more characters than");
    (reason.chars().count() > REASON_CHARS_MAX).then(|| format!("{text}: {REASON_CHARS_MAX}."))
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
    let address = connection.map(|state| state.connection.peer.as_ref().to_owned());
    let facts = Facts {
        view: SessionView::from(&SessionState { id, session: session.clone(), ends }),
        opened: session.opened,
        terminal_client: session.info.terminal_client.clone(),
        address,
        node: None,
        href: format!("/sessions/{id}"),
        back: "/sessions",
    };
    SessionPage::new(frame, facts, reason, wrong, clock::utc()).answer(status)
}

/// A session as its page shows it, of this server or of another node.
pub(super) struct Facts {
    pub(super) view: SessionView,
    pub(super) opened: Utc,
    pub(super) terminal_client: Option<String>,
    pub(super) address: Option<String>,
    /// The other node's name.
    pub(super) node: Option<String>,
    /// The page itself.
    pub(super) href: String,
    /// The list that it came from.
    pub(super) back: &'static str,
}

/// What stands around a list of all nodes' sessions.
#[derive(Default)]
pub(super) struct AllNodes {
    /// Nodes that have not answered, and why.
    pub(super) missing: Vec<(String, String)>,
    /// Nodes with more sessions than are shown: how many they have, and how many are shown.
    pub(super) cut: Vec<(String, usize, usize)>,
}

#[derive(Template)]
#[template(path = "sessions.html")]
pub(super) struct SessionsPage {
    pub(super) frame: Frame,
    pub(super) wanted: Wanted,
    pub(super) listing: Listing<Row>,
    /// The address of the list.
    pub(super) path: &'static str,
    /// Whether the list is of all nodes.
    pub(super) is_all: bool,
    /// Nothing on a server that stands alone.
    pub(super) all: Option<AllNodes>,
}

#[derive(Template)]
#[template(path = "session.html")]
pub(super) struct SessionPage<'a> {
    frame: Frame,
    facts: Facts,
    open_seconds: u64,
    left_seconds: u64,
    reason: &'a str,
    wrong: Option<String>,
}

impl<'a> SessionPage<'a> {
    pub(super) fn new(
        frame: Frame,
        facts: Facts,
        reason: &'a str,
        wrong: Option<String>,
        now: Utc,
    ) -> Self {
        Self {
            open_seconds: seconds_between(facts.opened, now),
            left_seconds: seconds_between(now, facts.view.expire_time),
            frame,
            facts,
            reason,
            wrong,
        }
    }

    pub(super) fn answer(&self, status: StatusCode) -> Result<Answer, ApiError> {
        self.frame.answer(status, self)
    }
}
