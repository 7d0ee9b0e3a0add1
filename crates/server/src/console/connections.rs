//! Connections: the components that talk to this server.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use askama::Template;
use hyper::StatusCode;

use crate::api::errors::ApiError;
use crate::api::routes::Page;
use crate::api::views::ConnectionView;
use crate::api::{Answer, Call};
use crate::console::frame::Frame;
use crate::console::table::{Column, Listing, Wanted, by_text};

/// A connection of the list.
struct Row {
    view: ConnectionView,
    series: String,
    sessions: usize,
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
    column("computer", "Компьютер", "Computer", |a, b| {
        by_text(&a.view.computer_name, &b.view.computer_name)
    }),
    column("address", "Адрес", "Address", |a, b| by_text(&a.view.peer_ip, &b.view.peer_ip)),
    column("process", "Процесс", "Process", |a, b| {
        by_text(&a.view.process, &b.view.process)
    }),
    column("platform", "Платформа", "Platform", |a, b| {
        by_text(&a.view.platform_version, &b.view.platform_version)
    }),
    column("component", "Компонента", "Component", |a, b| {
        by_text(&a.view.version, &b.view.version)
    }),
    column("series", "Серия", "Series", |a, b| a.series.cmp(&b.series)),
    column("sessions", "Сеансов", "Sessions", |a, b| a.sessions.cmp(&b.sessions)),
    column("created", "Создано", "Created", |a, b| a.view.created.cmp(&b.view.created)),
    column("used", "Отклик", "Last heard of", |a, b| a.view.last_used.cmp(&b.view.last_used)),
];

/// `GET /connections`.
pub(super) async fn page(call: &Call<'_>) -> Result<Answer, ApiError> {
    let wanted = Wanted::read("/connections", call.query)?;
    let frame = Frame::new(call, Page::Connections).await?;
    let handle = &call.app.handle;
    let mut sessions = BTreeMap::<_, usize>::new();
    let mut of_key = std::collections::BTreeSet::new();
    for state in handle.sessions().await? {
        *sessions.entry(state.session.connection).or_default() += 1;
        if wanted.key.is_some() && state.session.key_no == wanted.key {
            of_key.insert(state.session.connection);
        }
    }
    let mut states = handle.connections().await?;
    states.retain(|state| {
        wanted.series.is_none_or(|series| state.connection.series == series)
            && (wanted.key.is_none() || of_key.contains(&state.id))
    });
    let rows = states.into_iter().map(|state| Row {
        sessions: sessions.get(&state.id).copied().unwrap_or(0),
        series: state.connection.series.to_string(),
        view: ConnectionView::from(state),
    });
    let listing = wanted.list(&frame, COLUMNS, rows.collect(), |row| {
        let view = &row.view;
        vec![
            &view.computer_name,
            &view.peer_ip,
            &view.local_ip,
            &view.process,
            &view.platform_version,
            &view.version,
            &view.os_version,
            &view.pid,
            &row.series,
        ]
    });
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
