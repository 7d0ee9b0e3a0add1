//! Connections: the components that talk to this server.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use hyper::StatusCode;
use licence_core::protocol::ConnectionInfo;

use crate::api::errors::ApiError;
use crate::api::routes::Page;
use crate::api::views::ConnectionView;
use crate::api::{Answer, Call};
use crate::console::frame::Frame;
use crate::console::table::{Column, Listing, Picked, Wanted, by_text};
use crate::driver::ConnectionState;
use crate::looks::Everyone;

/// A connection as the list sorts and searches it.
#[derive(Clone, Copy)]
struct Line<'a> {
    state: &'a ConnectionState,
    sessions: usize,
}

impl<'a> Line<'a> {
    fn info(&self) -> &'a ConnectionInfo {
        &self.state.connection.info
    }
}

/// A connection of the page that is shown.
struct Row {
    view: ConnectionView,
    series: String,
    sessions: usize,
}

fn columns<'a>() -> [Column<Line<'a>>; 9] {
    [
        Column::new("computer", "Компьютер", "Computer", |a, b| {
            by_text(&a.info().computer_name, &b.info().computer_name)
        }),
        Column::new("address", "Адрес", "Address", |a, b| {
            by_text(&a.state.connection.peer, &b.state.connection.peer)
        }),
        Column::new("process", "Процесс", "Process", |a, b| {
            by_text(&a.info().process, &b.info().process)
        }),
        Column::new("platform", "Платформа", "Platform", |a, b| {
            by_text(&a.info().platform_version, &b.info().platform_version)
        }),
        Column::new("component", "Компонента", "Component", |a, b| {
            by_text(&a.info().version, &b.info().version)
        }),
        Column::new("series", "Серия", "Series", |a, b| {
            a.state.connection.series.cmp(&b.state.connection.series)
        }),
        Column::new("sessions", "Сеансов", "Sessions", |a, b| a.sessions.cmp(&b.sessions)),
        Column::new("created", "Создано", "Created", |a, b| {
            a.state.connection.created.cmp(&b.state.connection.created)
        }),
        Column::new("used", "Отклик", "Last heard of", |a, b| {
            a.state.connection.last_used.cmp(&b.state.connection.last_used)
        }),
    ]
}

/// The rows of the page that is wanted.
fn pick(everyone: &Everyone, wanted: &Wanted) -> Picked<Row> {
    let mut sessions = BTreeMap::<_, usize>::new();
    let mut of_key = BTreeSet::new();
    for state in &everyone.sessions {
        *sessions.entry(state.session.connection).or_default() += 1;
        if wanted.key.is_some() && state.session.key_no == wanted.key {
            of_key.insert(state.session.connection);
        }
    }
    let fits = |state: &&ConnectionState| {
        wanted.series.is_none_or(|series| state.connection.series == series)
            && (wanted.key.is_none() || of_key.contains(&state.id))
    };
    let count = |state: &ConnectionState| sessions.get(&state.id).copied().unwrap_or(0);
    let lines = everyone.connections.iter().filter(fits);
    let lines = lines.map(|state| Line { state, sessions: count(state) }).collect();
    let texts = |line: &Line<'_>, text: &mut String| {
        let info = line.info();
        let series = line.state.connection.series.to_string();
        let searched = [
            &*info.computer_name,
            &line.state.connection.peer,
            &info.local_ip,
            &info.process,
            &info.platform_version,
            &info.version,
            &info.os_version,
            &info.pid,
            &series,
        ];
        for part in searched {
            text.push_str(part);
            text.push('\n');
        }
    };
    wanted.pick(&columns(), lines, texts).map(|line| Row {
        sessions: line.sessions,
        series: line.state.connection.series.to_string(),
        view: ConnectionView::from(line.state),
    })
}

/// `GET /connections`.
pub(super) async fn page(call: &Call<'_>) -> Result<Answer, ApiError> {
    let wanted = Wanted::read("/connections", call.query)?;
    let frame = Frame::new(call, Page::Connections).await?;
    let looks = &call.app.looks;
    let permit = looks.permit().await?;
    let everyone = looks.recent(&call.app.handle).await?;
    let asked = wanted.clone();
    let rows = everyone.connections.len().max(everyone.sessions.len());
    let picked = looks.work(permit, rows, move || pick(&everyone, &asked)).await?;
    let listing = wanted.listing(&frame, &columns(), picked);
    let page = ConnectionsPage { frame, wanted, listing };
    page.frame.answer(StatusCode::OK, &page)
}

#[derive(Template)]
#[template(path = "connections.html")]
struct ConnectionsPage {
    frame: Frame,
    wanted: Wanted,
    listing: Listing<Row>,
}
