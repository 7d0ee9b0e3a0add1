//! The page about the server and its computer, and how they are.
//!
//! Monitoring takes the page itself as a sign of life, so it answers while the server does:
//! whatever a check finds, the status is 200.

use askama::Template;
use hyper::StatusCode;
use licence_core::language::Language;

use super::frame::Frame;
use crate::access::{Role, Via};
use crate::api::binding::BindingView;
use crate::api::errors::ApiError;
use crate::api::rest::server_view;
use crate::api::routes::Page;
use crate::api::views::ServerInfoView;
use crate::api::{Answer, Call, VERSION};
use crate::health::{self, HealthReport, State};
use crate::host;

/// `GET /systeminfo`.
pub(super) async fn answer(call: &Call<'_>) -> Result<Answer, ApiError> {
    let t = call.language;
    // What is wrong with a server is told to those who have said who they are, as by the API, and
    // where nobody needs to.
    let shows_health = call.actor.via != Via::Nothing || call.actor.role >= Role::Administrator;
    let report =
        if shows_health { health::report(call.app).await } else { HealthReport::default() };
    let binding = if shows_health {
        let judged = call.app.handle.standings().await?;
        Some(BindingView::new(&call.app.binding.state(), &judged, t))
    } else {
        None
    };
    let page = SystemInfoPage {
        binding,
        frame: Frame::new(call, Page::SystemInfo).await?,
        t,
        version: VERSION,
        info: server_view(&call.app.host, host::local_ipv4(), call.app.started),
        shows_health,
        state: report.state().name(),
        state_text: state_text(t, report.state()),
        checks: report
            .checks
            .iter()
            .map(|check| CheckRow {
                id: check.id,
                state: check.state.name(),
                state_text: state_text(t, check.state),
                text: check.text(t).to_owned(),
                advice: check.advice(t).to_owned(),
            })
            .collect(),
    };
    page.frame.answer(StatusCode::OK, &page)
}

fn state_text(t: Language, state: State) -> &'static str {
    match state {
        State::Ok => t.pick("в порядке", "in order"),
        State::Warning => t.pick("внимание", "warning"),
        State::Failed => t.pick("неисправно", "failed"),
    }
}

#[derive(Template)]
#[template(path = "systeminfo.html")]
struct SystemInfoPage {
    frame: Frame,
    t: Language,
    version: &'static str,
    info: ServerInfoView,
    shows_health: bool,
    binding: Option<BindingView>,
    state: &'static str,
    state_text: &'static str,
    checks: Vec<CheckRow>,
}

struct CheckRow {
    id: &'static str,
    state: &'static str,
    state_text: &'static str,
    text: String,
    advice: String,
}
