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
use licence_core::time::term_clock::Doubt;
use tokio::sync::Mutex;

use crate::api::binding::BindingView;
use crate::api::errors::ApiError;
use crate::api::params::Params;
use crate::api::routes::Page;
use crate::api::views::{ConnectionView, LicenceView, SessionView};
use crate::api::{Answer, App, Call};
use crate::binding::Judged;
use crate::clock;
use crate::config::ConsoleConfig;
use crate::console::frame::Frame;
use crate::console::plot::{Plot, Span};
use crate::console::table::by_text;
use crate::console::texts::Texts;
use crate::driver::{ConnectionState, SeriesTotals, SessionState};
use crate::history::UsePoint;
use crate::looks::Everyone;

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
    /// Seats held of every key.
    held: BTreeMap<KeyNo, u32>,
    /// How the keys stand with the computer.
    pub(super) judged: Judged,
    /// A jump of the clock that is not believed.
    pub(super) doubt: Option<Doubt>,
}

/// Nothing where the history could not be read.
pub(super) type Recents = Arc<Vec<(KeySeries, Option<Recent>)>>;
type Uses = Arc<Vec<(KeySeries, Option<Vec<UsePoint>>)>>;

/// The last look at the state. Every page asks for it, also those that need no password by default,
/// so it asks the driver at most once in [`LOOK_MILLIS`] and the history once in [`HISTORY_MILLIS`],
/// whoever and however many ask. Nobody waits for the history who only wants to see the state.
#[derive(Debug, Default)]
pub struct OverviewCache {
    seen: Mutex<Option<(MonoTime, Arc<Seen>)>>,
    recent: Mutex<Option<(MonoTime, Recents)>>,
    uses: Mutex<BTreeMap<Span, (MonoTime, Uses)>>,
    /// Held by whoever asks the history, one at a time; the others show the old figures.
    asking_recent: Mutex<()>,
    asking_uses: Mutex<()>,
}

/// What was kept, unless it is too old.
fn fresh<T>(kept: Option<&(MonoTime, Arc<T>)>, now: MonoTime, millis: u64) -> Option<Arc<T>> {
    let is_fresh = |at: MonoTime| now.since(at) < Duration::from_millis(millis);
    kept.filter(|(at, _)| is_fresh(*at)).map(|(_, kept)| Arc::clone(kept))
}

impl OverviewCache {
    pub(super) async fn look(&self, app: &App) -> Result<Arc<Seen>, ApiError> {
        // Held while the driver answers: whoever comes meanwhile takes the same answer.
        let mut last = self.seen.lock().await;
        let now = clock::mono();
        if let Some(seen) = fresh(last.as_ref(), now, LOOK_MILLIS) {
            return Ok(seen);
        }
        let totals = app.handle.overview().await?;
        let licences = app.handle.licences(None, false).await?;
        let held = app.handle.seats_held().await?;
        let judged = app.handle.standings().await?;
        let (_, doubt) = app.handle.believed_time().await?;
        let seen = Arc::new(Seen { totals, licences, held, judged, doubt });
        *last = Some((now, Arc::clone(&seen)));
        Ok(seen)
    }

    /// Looks again for the next page, because something has just been changed.
    pub(crate) async fn forget(&self) {
        *self.seen.lock().await = None;
    }

    /// Use in the last 24 hours. While another request asks the history, what it said before.
    pub(super) async fn recent(&self, app: &App, totals: &[SeriesTotals]) -> Recents {
        let kept = self.recent.lock().await.clone();
        let now = clock::mono();
        let known = fresh(kept.as_ref(), now, HISTORY_MILLIS);
        if let Some(known) = known.filter(|known| known.len() == totals.len()) {
            return known;
        }
        let Ok(_asking) = self.asking_recent.try_lock() else {
            return kept.map(|(_, old)| old).unwrap_or_default();
        };
        let found = Arc::new(recent_use(app, totals).await);
        *self.recent.lock().await = Some((now, Arc::clone(&found)));
        found
    }

    /// Use of the series, for the plots. While another request asks the history, what it said before,
    /// if it has ever been asked.
    async fn uses(&self, app: &App, span: Span, totals: &[SeriesTotals]) -> Uses {
        let kept = self.uses.lock().await.get(&span).cloned();
        if let Some(known) = fresh(kept.as_ref(), clock::mono(), HISTORY_MILLIS) {
            return known;
        }
        let _asking = match (self.asking_uses.try_lock(), kept) {
            (Ok(asking), _) => asking,
            (Err(_), Some((_, old))) => return old,
            (Err(_), None) => self.asking_uses.lock().await,
        };
        let now = clock::mono();
        if let Some(known) = fresh(self.uses.lock().await.get(&span), now, HISTORY_MILLIS) {
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
        self.uses.lock().await.insert(span, (now, Arc::clone(&found)));
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

/// `GET /`: series, keys, who uses them.
pub(super) async fn page(call: &Call<'_>) -> Result<Answer, ApiError> {
    let params = Params::read(call.query, b"")?;
    let span = Span::read(&params)?;
    let frame = Frame::new(call, Page::Overview).await?;
    let seen = call.app.overview.look(call.app).await?;
    let everyone = call.app.looks.recent(&call.app.handle).await?;
    let recent = call.app.overview.recent(call.app, &seen.totals).await;
    let uses = call.app.overview.uses(call.app, span, &seen.totals).await;
    let config = call.app.settings.get();
    let binding = BindingView::new(&call.app.binding.state(), &seen.judged, call.language);
    let page = OverviewPage {
        binding: binding.is_noteworthy().then_some(binding),
        connection_count: everyone.connections.len(),
        session_count: everyone.sessions.len(),
        spans: span_links(&frame, span),
        series: group(&seen, &everyone, &recent, &config.console, &uses, span, frame.t),
        frame,
    };
    page.frame.answer(StatusCode::OK, &page)
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage<'a> {
    frame: Frame,
    binding: Option<BindingView>,
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
    connections: Vec<ConnectionView>,
    more_connections: usize,
}

struct KeyBlock<'a> {
    key: &'a LicenceView,
    used: u32,
    sessions: Vec<SessionView>,
    more: usize,
}

fn group<'a>(
    seen: &'a Seen,
    everyone: &Everyone,
    recent: &Recents,
    config: &ConsoleConfig,
    uses: &Uses,
    span: Span,
    t: Texts,
) -> Vec<SeriesBlock<'a>> {
    // One pass over the sessions, of which there may be ten thousands, instead of one per key.
    let mut of_keys: BTreeMap<KeyNo, (usize, Vec<&SessionState>)> = BTreeMap::new();
    for state in &everyone.sessions {
        if let Some(key_no) = state.session.key_no {
            let (count, shown) = of_keys.entry(key_no).or_default();
            *count += 1;
            if shown.len() < SESSIONS_SHOWN_MAX {
                shown.push(state);
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
            let (count, mut sessions) =
                key.key_no.and_then(|key_no| of_keys.remove(&key_no)).unwrap_or_default();
            sessions.sort_by(|a, b| {
                by_text(&a.session.info.session_number, &b.session.info.session_number)
            });
            let used = key.key_no.and_then(|key_no| seen.held.get(&key_no).copied()).unwrap_or(0);
            let is_full = key.enabled && used >= key.licence_count;
            if config.hide_full_storages && is_full {
                hidden_keys += 1;
                continue;
            }
            let more = count - sessions.len();
            let sessions = sessions.into_iter().map(SessionView::from).collect();
            keys.push(KeyBlock { key, used, more, sessions });
        }
        let is_of_series = |state: &&ConnectionState| state.connection.series == totals.series;
        let mut rest = everyone.connections.iter().filter(is_of_series);
        let connections: Vec<_> =
            rest.by_ref().take(CONNECTIONS_SHOWN_MAX).map(ConnectionView::from).collect();
        let more_connections = rest.count();
        let percent = (totals.used * 100).checked_div(totals.total).unwrap_or(0);
        let recent = recent.iter().find(|(series, _)| *series == totals.series);
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
