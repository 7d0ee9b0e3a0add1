//! The pages of series: what is settled for each of them.
//!
//! Reads the form; the limits are those of [`SeriesSettings::check`].

use askama::Template;
use hyper::StatusCode;
use licence_core::binding::{Binding, BindingLevel};
use licence_core::key::KeySeries;
use licencekit::vendor::{DemoOffer, SeriesSettings, SeriesView};

use super::frame::{Frame, see_done};
use super::{Call, Page, texts, told};
use crate::api::refusal_of;
use crate::refusal::Refusal;

/// The levels in the order in which they are offered.
pub(super) const LEVELS: [(&str, BindingLevel); 4] = [
    ("loose", BindingLevel::Loose),
    ("medium", BindingLevel::Medium),
    ("strict", BindingLevel::Strict),
    ("tpm", BindingLevel::Tpm),
];

#[derive(Template)]
#[template(path = "vendor_series.html")]
struct List {
    frame: Frame,
    rows: Vec<SeriesView>,
}

/// `GET /vendor/series`.
pub(super) async fn list(call: &Call<'_>) -> Result<Page, Refusal> {
    let rows = call.centre.books.series().await.map_err(refusal_of)?;
    let page = List { frame: Frame::for_staff(call), rows };
    page.frame.answer(StatusCode::OK, &page)
}

#[derive(Template)]
#[template(path = "vendor_series_one.html")]
struct One {
    frame: Frame,
    view: SeriesView,
    levels: [(&'static str, BindingLevel); 4],
}

impl One {
    fn demo_seats(&self) -> String {
        self.view.settings.demo.map(|demo| demo.seats.to_string()).unwrap_or_default()
    }

    fn demo_days(&self) -> String {
        self.view.settings.demo.map(|demo| demo.days.to_string()).unwrap_or_default()
    }

    fn grace(&self) -> String {
        self.view.settings.binding.map(|own| own.grace_days.to_string()).unwrap_or_default()
    }

    fn has_level(&self, level: &BindingLevel) -> bool {
        self.view.settings.binding.is_some_and(|own| own.level == *level)
    }
}

/// `GET /vendor/series/{id}`, and the same with what is wrong with the form.
pub(super) async fn one(
    call: &Call<'_>,
    id: &str,
    status: StatusCode,
    error: Option<String>,
) -> Result<Page, Refusal> {
    let id: KeySeries = id.parse().map_err(|_| Refusal::NotFound)?;
    let all = call.centre.books.series().await.map_err(refusal_of)?;
    let view = all.into_iter().find(|view| view.series == id).ok_or(Refusal::NotFound)?;
    let mut frame = Frame::for_staff(call);
    frame.error = error;
    let page = One { frame, view, levels: LEVELS };
    page.frame.answer(status, &page)
}

/// `POST /vendor/series/{id}`.
pub(super) async fn settle(call: &Call<'_>, id: &str) -> Result<Page, Refusal> {
    let series: KeySeries = id.parse().map_err(|_| Refusal::NotFound)?;
    let settings = read(call)?;
    if let Err(error) = settings.check() {
        let text = texts::vendor(call.language, &error);
        return one(call, id, StatusCode::BAD_REQUEST, Some(text)).await;
    }
    match call.centre.books.settle_series(series, settings, call.actor()?, call.now).await {
        Ok(_) => Ok(see_done(&format!("/vendor/series/{series}"), "series_saved")),
        Err(error) => {
            let (status, text) = told(call, error)?;
            one(call, id, status, Some(text)).await
        }
    }
}

fn read(call: &Call<'_>) -> Result<SeriesSettings, Refusal> {
    let form = &call.form;
    let number = |field: &'static str, name: &'static str| match form.text(field) {
        None => Ok(None),
        Some(text) => text.parse::<u32>().map(Some).map_err(|_| Refusal::BadMember(name)),
    };
    let demo = match (number("demo_seats", "Demo.Seats")?, number("demo_days", "Demo.Days")?) {
        (None, None) => None,
        (Some(seats), Some(days)) => Some(DemoOffer { seats, days }),
        (None, Some(_)) => return Err(Refusal::BadMember("Demo.Seats")),
        (Some(_), None) => return Err(Refusal::BadMember("Demo.Days")),
    };
    Ok(SeriesSettings {
        demo,
        binding: binding(call)?,
        moves_max: number("moves_max", "MovesMax")?.ok_or(Refusal::BadMember("MovesMax"))?,
        self_release: form.is_ticked("self_release"),
        cluster_nodes: number("cluster_nodes", "ClusterNodes")?.unwrap_or(0),
    })
}

/// Level and grace of a form; nothing when no level is chosen.
pub(super) fn binding(call: &Call<'_>) -> Result<Option<Binding>, Refusal> {
    let Some(level) = call.form.text("level") else { return Ok(None) };
    let level = LEVELS.iter().find(|(name, _)| *name == level);
    let (_, level) = level.ok_or(Refusal::BadMember("Binding.Level"))?;
    let grace_days = match call.form.text("grace_days") {
        Some(text) => text.parse().map_err(|_| Refusal::BadMember("Binding.GraceDays"))?,
        None => Binding::default().grace_days,
    };
    Ok(Some(Binding { level: *level, grace_days }))
}
