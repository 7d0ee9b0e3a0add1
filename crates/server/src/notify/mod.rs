//! Notices to the administrator: high use, refusals, ends of terms, lost reserve servers, other
//! hardware; by webhook and mail.
//!
//! A task looks at the server now and then and listens to what happens. What is worth a notice is
//! decided in [`rules`]; a slow or dead receiver delays nobody but the notices behind it. What is told
//! of a cluster comes from a task of `cluster::notices`, by the same way out.

pub mod deliver;
pub mod message;
pub mod rules;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use licence_core::binding::{Match, Standing};
use licence_core::causes::with_causes;
use licence_core::language::Language;
use licence_core::seal::hex_upper;
use licence_core::time::{DAY_MILLIS, Utc};
use licence_ismp::StoreKey;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use self::deliver::Channel;
use self::message::Letter;
use self::rules::{Denial, Facts, KeyEnd, Limits, Notice, SeriesUse, Watcher};
use crate::api::App;
use crate::binding::{Judged, words};
use crate::cluster::{Cluster, State as Seen, notices};
use crate::driver::DriverError;
use crate::health::{State, computer, reserve};
use crate::history::Event;
use crate::{clock, random};

/// How often the server is looked at: use above the limit for less is told by the reports.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Letters that wait. More in one go is a flood, and the oldest say the least.
const LETTERS_MAX: usize = 100;

/// Pauses before the second, third and fourth try.
const PAUSES: [Duration; 3] =
    [Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(300)];

/// Looks, listens and tells, until the server stops.
pub async fn run(app: Arc<App>) {
    let states = app.cluster.as_ref().map(Cluster::watch);
    run_with(app, states).await;
}

/// The same, with what the node of a cluster sees.
pub async fn run_with(app: Arc<App>, states: Option<watch::Receiver<Arc<Seen>>>) {
    let (letters, waiting) = mpsc::channel(LETTERS_MAX);
    let post = Postbox { letters };
    let postman = tokio::spawn(deliver_all(Arc::clone(&app), waiting));
    // It ends with this task, however that ends.
    let mut beside = JoinSet::new();
    if let Some(states) = states {
        beside.spawn(notices::run(Arc::clone(&app), states, post.clone()));
    }
    let mut watcher = Watcher::default();
    let mut feed = None;
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = next(&mut feed) => match event {
                Ok(event) => {
                    let told =
                        denial(&event).and_then(|denial| watcher.denied(denial, clock::mono()));
                    post.put(&app, told);
                }
                Err(RecvError::Lagged(_)) => {}
                // The server stops: what waits is given up with it.
                Err(RecvError::Closed) => break,
            },
            _ = ticks.tick() => {
                let (facts, utc) = match facts(&app).await {
                    Ok(seen) => seen,
                    Err(DriverError::Stopped) => break,
                    // At a moment like this nobody is told the less: it is looked again soon.
                    Err(error) => {
                        log::debug!("notices: no look this time: {}", with_causes(&error));
                        continue;
                    }
                };
                let config = app.settings.get();
                let limits = Limits {
                    use_percent: config.parts.notify.use_percent,
                    expiry_days: config.parts.notify.expiry_days,
                    session_key_minutes: config.parts.notify.session_key_minutes,
                };
                // Ends of terms are told by the clock that ends them.
                let told = watcher.look(&facts, limits, clock::mono(), utc);
                post.put(&app, told);
                // Where nobody is told, the journal need not read back what it has written.
                let is_wanted = !deliver::channels(&config.parts.notify).is_empty();
                if is_wanted != feed.is_some() {
                    feed = is_wanted.then(|| app.feed.subscribe());
                }
            }
        }
    }
    postman.abort();
}

/// The next event; never comes while nobody listens.
async fn next(feed: &mut Option<Receiver<Arc<Event>>>) -> Result<Arc<Event>, RecvError> {
    match feed {
        Some(feed) => feed.recv().await,
        None => std::future::pending().await,
    }
}

/// Parts that have changed, in words.
fn drift(app: &App, judged: &Judged) -> Option<(usize, String, String)> {
    let state = app.binding.state();
    let Match::Parts { matching, total } = state.found else { return None };
    let changed = total.checked_sub(matching).filter(|changed| *changed > 0)?;
    let told = |language| words::computer(&state, judged.more(), language);
    Some((changed, told(Language::Russian), told(Language::English)))
}

/// How things are, and the moment by which terms are judged; an error when the driver does not say.
async fn facts(app: &App) -> Result<(Facts, Utc), DriverError> {
    let totals = app.handle.overview().await?;
    let licences = app.handle.licences(None, false).await?;
    let path = app.paths.computer();
    let looking = tokio::task::spawn_blocking(move || computer::check(&path, None, clock::utc()));
    // A look that breaks down tells of nothing.
    let has_other_hardware = looking.await.is_ok_and(|check| check.state != State::Ok);
    let judged = app.handle.standings().await?;
    let (believed, doubt) = app.handle.believed_time().await?;
    let tokens = app.handle.keys_on_tokens().await?;
    let session_keys = session_keys(app).await;
    let servers = app.settings.get().parts.notify.watch_servers.clone();
    let facts = Facts {
        series: totals
            .iter()
            .map(|at| SeriesUse { series: at.series, total: at.total, used: at.used })
            .collect(),
        keys: licences
            .iter()
            .filter_map(|key| {
                Some(KeyEnd { series: key.key_id?, key_no: key.key_no?, ends: key.expire_date? })
            })
            .collect(),
        servers: reserve::look(&servers).await,
        has_other_hardware,
        drift: drift(app, &judged),
        stopping: judged
            .keys
            .iter()
            .filter_map(|key| match key.standing {
                Standing::Grace { until } | Standing::Over { since: until } => {
                    Some(KeyEnd { series: key.series, key_no: key.key_no, ends: until })
                }
                Standing::Fits { .. } | Standing::NeedsTpm => None,
            })
            .collect(),
        clock_ahead: doubt.map(|doubt| (doubt.ahead_millis / DAY_MILLIS, doubt.since)),
        // Nothing after this fails: what is taken is told.
        ended: app.activator.take_ended(),
        tokens,
        session_keys,
    };
    Ok((facts, believed))
}

/// Session keys that nobody refreshes at the moment, and when they end. What cannot be looked at is
/// told elsewhere, and keeps back no other notice.
async fn session_keys(app: &App) -> Vec<(String, Utc)> {
    if !app.settings.get().ismp.enabled {
        return Vec::new();
    }
    let Ok(look) = app.ismp.look().await else { return Vec::new() };
    let is_idle = |key: &StoreKey| !look.refreshing.iter().any(|(other, _)| other == key);
    let idle = look.records.iter().filter(|record| is_idle(&record.key));
    idle.map(|record| (record.key.to_string(), record.valid_until)).collect()
}

fn denial(event: &Event) -> Option<Denial> {
    if event.kind != "denied" {
        return None;
    }
    let text = event.detail.as_ref().and_then(|detail| detail.get("text"));
    Some(Denial {
        series: event.series?,
        reason: event.reason.clone().unwrap_or_default(),
        text: text.and_then(|text| text.as_str()).unwrap_or_default().to_owned(),
    })
}

/// Where notices are put that wait to be sent. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Postbox {
    letters: mpsc::Sender<Letter>,
}

impl Postbox {
    /// Logs notices and leaves them for the receivers that the settings name.
    pub(crate) fn put(&self, app: &App, notices: impl IntoIterator<Item = Notice>) {
        for notice in notices {
            log::info!("notice: {}", notice.english);
            if deliver::channels(&app.settings.get().parts.notify).is_empty() {
                continue;
            }
            let Ok(id) = random::id_bytes() else { continue };
            let kind = notice.kind.code();
            let letter = Letter {
                id: format!("msg_{}", hex_upper(&id)),
                at: clock::utc(),
                server: app.host.computer_name.clone(),
                notice,
            };
            if self.letters.try_send(letter).is_err() {
                app.metrics.notice(kind, "dropped");
                log::warn!("a notice was dropped: {LETTERS_MAX} are waiting");
            }
        }
    }
}

/// Sends what waits, one letter after another.
async fn deliver_all(app: Arc<App>, mut waiting: mpsc::Receiver<Letter>) {
    while let Some(letter) = waiting.recv().await {
        let channels = deliver::channels(&app.settings.get().parts.notify);
        let mut left: VecDeque<Channel> = channels.into();
        while let Some(channel) = left.pop_front() {
            deliver_one(&app, channel, &letter).await;
        }
    }
}

async fn deliver_one(app: &App, channel: Channel, letter: &Letter) {
    let kind = letter.notice.kind.code();
    for attempt in 0..=PAUSES.len() {
        // The settings of each try: an address that was wrong may have been put right.
        let config = app.settings.get();
        let sent = letter.clone();
        let outcome = tokio::task::spawn_blocking(move || {
            deliver::send(channel, &sent, &config.parts.notify, config.lang)
        });
        let why = match outcome.await {
            Ok(Ok(())) => {
                app.metrics.notice(kind, "sent");
                return;
            }
            Ok(Err(why)) => why,
            Err(error) => error.to_string(),
        };
        match PAUSES.get(attempt) {
            // The pause is the back-off itself.
            Some(pause) => tokio::time::sleep(*pause).await,
            None => {
                app.metrics.notice(kind, "failed");
                log::warn!("a notice ({kind}, {channel:?}) could not be sent: {why}");
            }
        }
    }
}
