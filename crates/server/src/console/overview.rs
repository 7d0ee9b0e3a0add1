//! The first page: series, keys, who uses them, how the seats were used.
//!
//! Shows and changes nothing. By default it is shown to anybody and lists everything, so what it
//! shows is looked up at most once in [`LOOK_MILLIS`], whoever and however many ask.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use hyper::StatusCode;
use licence_core::key::{KeyNo, KeySeries};
use licence_core::time::MonoTime;
use tokio::sync::Mutex;

use crate::api::errors::ApiError;
use crate::api::params::Params;
use crate::api::routes::Page;
use crate::api::views::{ConnectionView, LicenceView, SessionView};
use crate::api::{Answer, App, Call};
use crate::clock;
use crate::config::ConsoleConfig;
use crate::console::frame::Frame;
use crate::console::plot::{Plot, Span};
use crate::console::table::by_text;
use crate::console::texts::Texts;
use crate::driver::SeriesTotals;
use crate::history::UsePoint;

/// Sessions shown below one key. A page with more is no use to a person; `/sessions` has them all.
const SESSIONS_SHOWN_MAX: usize = 500;

/// Connections shown below one series; `/connections` has them all.
const CONNECTIONS_SHOWN_MAX: usize = 500;

/// Series with a plot on this page: each costs a query of the history.
const PLOTS_MAX: usize = 20;

/// How old the overview may be, in milliseconds: younger than anyone presses "reload".
const LOOK_MILLIS: u64 = 1000;

/// How old the figures from the history may be, in milliseconds: they sum up a day or more.
const HISTORY_MILLIS: u64 = 10_000;

/// A day, in milliseconds.
const DAY_MILLIS: i64 = 86_400_000;

/// A share of the seats in use from which the meter warns, in percent.
const FULL_PERCENT: u64 = 90;

/// Use of a series in the last 24 hours. Not "today": the reader's midnight is not known here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recent {
    /// Most seats held at one moment.
    pub(super) peak: u64,
    /// Refusals.
    pub(super) denied: u64,
}

/// What the overview and the frame of every page show.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) totals: Vec<SeriesTotals>,
    pub(super) licences: Vec<LicenceView>,
    /// Nothing where the history could not be read.
    pub(super) recent: Recents,
}

/// Who uses the keys: thousands, and of no use but to the overview.
#[derive(Debug)]
struct Holders {
    connections: Vec<ConnectionView>,
    sessions: Vec<SessionView>,
}

type Recents = Arc<Vec<(KeySeries, Option<Recent>)>>;
type Uses = Arc<Vec<(KeySeries, Option<Vec<UsePoint>>)>>;

#[derive(Debug, Default)]
struct Last {
    seen: Option<(MonoTime, Arc<Seen>)>,
    recent: Option<(MonoTime, Recents)>,
    holders: Option<(MonoTime, Arc<Holders>)>,
}

/// The last look at the state. The page needs no password by default and lists everything, so it
/// asks the driver at most once in [`LOOK_MILLIS`] and the history once in [`HISTORY_MILLIS`],
/// whoever and however many ask for it.
#[derive(Debug, Default)]
pub struct OverviewCache {
    last: Mutex<Last>,
    uses: Mutex<BTreeMap<Span, (MonoTime, Uses)>>,
}

/// What was kept, unless it is too old.
fn fresh<T>(kept: Option<&(MonoTime, Arc<T>)>, now: MonoTime, millis: u64) -> Option<Arc<T>> {
    let is_fresh = |at: MonoTime| now.since(at) < Duration::from_millis(millis);
    kept.filter(|(at, _)| is_fresh(*at)).map(|(_, kept)| Arc::clone(kept))
}

impl OverviewCache {
    pub(super) async fn look(&self, app: &App) -> Result<Arc<Seen>, ApiError> {
        // Held while the driver answers: whoever comes meanwhile takes the same answer.
        let mut last = self.last.lock().await;
        let now = clock::mono();
        if let Some(seen) = fresh(last.seen.as_ref(), now, LOOK_MILLIS) {
            return Ok(seen);
        }
        let totals = app.handle.overview().await?;
        let kept = fresh(last.recent.as_ref(), now, HISTORY_MILLIS);
        let recent = match kept.filter(|recent| recent.len() == totals.len()) {
            Some(recent) => recent,
            None => {
                let recent = Arc::new(recent_use(app, &totals).await);
                last.recent = Some((now, Arc::clone(&recent)));
                recent
            }
        };
        let licences = app.handle.licences(None, false).await?;
        let seen = Arc::new(Seen { totals, licences, recent });
        last.seen = Some((now, Arc::clone(&seen)));
        Ok(seen)
    }

    async fn holders(&self, app: &App) -> Result<Arc<Holders>, ApiError> {
        let mut last = self.last.lock().await;
        let now = clock::mono();
        if let Some(holders) = fresh(last.holders.as_ref(), now, LOOK_MILLIS) {
            return Ok(holders);
        }
        let holders = Arc::new(Holders {
            connections: views(app.handle.connections().await?),
            sessions: views(app.handle.sessions().await?),
        });
        last.holders = Some((now, Arc::clone(&holders)));
        Ok(holders)
    }

    /// Looks again for the next page, because something has just been changed.
    pub(super) async fn forget(&self) {
        let mut last = self.last.lock().await;
        last.seen = None;
        last.holders = None;
    }

    async fn uses(&self, app: &App, span: Span, totals: &[SeriesTotals]) -> Uses {
        let mut uses = self.uses.lock().await;
        let now = clock::mono();
        if let Some(known) = fresh(uses.get(&span), now, HISTORY_MILLIS) {
            return known;
        }
        let to = clock::utc();
        let from = span.before(to);
        let mut found = Vec::new();
        for totals in totals.iter().take(PLOTS_MAX) {
            let points = app.history.usage(totals.series, from, to, span.step_seconds()).await;
            found.push((totals.series, points.ok()));
        }
        let found = Arc::new(found);
        uses.insert(span, (now, Arc::clone(&found)));
        found
    }
}

async fn recent_use(app: &App, totals: &[SeriesTotals]) -> Vec<(KeySeries, Option<Recent>)> {
    let from = clock::utc().plus_millis(-DAY_MILLIS);
    let mut found = Vec::with_capacity(totals.len());
    for totals in totals {
        let since = app.history.since(totals.series, from).await.ok();
        found.push((totals.series, since.map(|(peak, denied)| Recent { peak, denied })));
    }
    found
}

fn views<S, V: From<S>>(states: Vec<S>) -> Vec<V> {
    states.into_iter().map(V::from).collect()
}

/// `GET /`: series, keys, who uses them.
pub(super) async fn page(call: &Call<'_>) -> Result<Answer, ApiError> {
    let params = Params::read(call.query, b"")?;
    let span = Span::read(&params)?;
    let frame = Frame::new(call, Page::Overview).await?;
    let seen = call.app.overview.look(call.app).await?;
    let holders = call.app.overview.holders(call.app).await?;
    let uses = call.app.overview.uses(call.app, span, &seen.totals).await;
    let config = call.app.settings.get();
    let page = OverviewPage {
        connection_count: holders.connections.len(),
        session_count: holders.sessions.len(),
        spans: span_links(&frame, span),
        series: group(&seen, &holders, &config.console, &uses, span, frame.t),
        frame,
    };
    page.frame.answer(StatusCode::OK, &page)
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage<'a> {
    frame: Frame,
    connection_count: usize,
    session_count: usize,
    spans: Vec<SpanLink>,
    series: Vec<SeriesBlock<'a>>,
}

struct SpanLink {
    href: String,
    text: &'static str,
    is_current: bool,
}

fn span_links(frame: &Frame, current: Span) -> Vec<SpanLink> {
    let link = |span: Span| SpanLink {
        href: frame.link(format!("/?span={}", span.name())),
        text: span.text(frame.t),
        is_current: span == current,
    };
    Span::ALL.into_iter().map(link).collect()
}

struct SeriesBlock<'a> {
    totals: &'a SeriesTotals,
    recent: Option<Recent>,
    /// Seats in use of 100, for the meter and the reader.
    percent: u64,
    is_full: bool,
    /// The soonest end of a term: day and days left.
    soonest: Option<(String, u32)>,
    plot: Option<String>,
    keys: Vec<KeyBlock<'a>>,
    hidden_keys: usize,
    connections: Vec<&'a ConnectionView>,
    more_connections: usize,
}

struct KeyBlock<'a> {
    key: &'a LicenceView,
    used: usize,
    sessions: Vec<&'a SessionView>,
    more: usize,
}

fn group<'a>(
    seen: &'a Seen,
    holders: &'a Holders,
    config: &ConsoleConfig,
    uses: &Uses,
    span: Span,
    t: Texts,
) -> Vec<SeriesBlock<'a>> {
    // One pass over the sessions, of which there may be ten thousands, instead of one per key.
    let mut held: BTreeMap<KeyNo, (usize, Vec<&'a SessionView>)> = BTreeMap::new();
    for session in &holders.sessions {
        if let Some(key_no) = session.used_licence {
            let (used, shown) = held.entry(key_no).or_default();
            *used += 1;
            if shown.len() < SESSIONS_SHOWN_MAX {
                shown.push(session);
            }
        }
    }
    let mut blocks = Vec::new();
    for totals in &seen.totals {
        if config.hide_uninstalled && totals.keys == 0 {
            continue;
        }
        let of_series = || seen.licences.iter().filter(|key| key.key_id == Some(totals.series));
        let mut hidden_keys = 0;
        let mut keys = Vec::new();
        for key in of_series() {
            let (used, mut sessions) =
                key.key_no.and_then(|key_no| held.remove(&key_no)).unwrap_or_default();
            sessions.sort_by(|a, b| by_text(&a.session_number, &b.session_number));
            let is_full = key.enabled && used as u64 >= u64::from(key.licence_count);
            if config.hide_full_storages && is_full {
                hidden_keys += 1;
                continue;
            }
            keys.push(KeyBlock { key, used, more: used - sessions.len(), sessions });
        }
        let mut connections: Vec<_> =
            holders.connections.iter().filter(|c| c.key_id == totals.series).collect();
        let more_connections = connections.len().saturating_sub(CONNECTIONS_SHOWN_MAX);
        connections.truncate(CONNECTIONS_SHOWN_MAX);
        let percent = (totals.used * 100).checked_div(totals.total).unwrap_or(0);
        let recent = seen.recent.iter().find(|(series, _)| *series == totals.series);
        let soonest = of_series()
            .filter(|key| key.enabled)
            .filter_map(|key| Some((key.days_left?, key.expire_date?)))
            .min()
            .map(|(days, end)| (t.day(&end), days));
        let points = uses.iter().find(|(series, _)| *series == totals.series);
        let plot = points.and_then(|(series, points)| {
            let points = points.as_deref()?;
            let title = format!(
                "{} {series} {} {}",
                t.pick("Использование лицензий серии", "Use of licences of series"),
                t.pick("за", "over the last"),
                span.text(t)
            );
            Some(Plot { id: &format!("use-{series}"), title: &title, span, points }.render(t))
        });
        blocks.push(SeriesBlock {
            totals,
            recent: recent.and_then(|(_, recent)| *recent),
            percent,
            is_full: percent >= FULL_PERCENT,
            soonest,
            plot,
            keys,
            hidden_keys,
            connections,
            more_connections,
        });
    }
    blocks
}
