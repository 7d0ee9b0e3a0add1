//! What the server counts and measures for Prometheus.
//!
//! Counters and histograms are filled where things happen; gauges are made at each scrape from one
//! look at the driver. Nothing here decides anything, and nothing on the way of a heartbeat looks up
//! a label. Names are published in `docs/monitoring.md`.

use std::fmt;
use std::sync::atomic::AtomicU64;

use licence_core::binding::{Match, Standing};
use licence_core::journal::{Record, Snapshot};
use licence_core::protocol::LicenceView;
use licence_core::time::Utc;
use licence_core::time::term_clock::Doubt;
use licence_ismp::{State, TokenKind};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::api::VERSION;
use crate::binding::Judged;
use crate::clock::Stopwatch;
use crate::cluster;
use crate::driver::SeriesTotals;
use crate::history::Event;
use crate::identity::SealState;
use crate::ismp::{Counts, Look, RecordView};
use crate::keyring::{Plugged, Presence};
use crate::store::{Journal, StoreError};

/// Upper bounds of the buckets, in seconds: from a heartbeat in memory to a disk that hangs.
const BUCKETS: [f64; 12] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0];

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Denial {
    series: String,
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct End {
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Request {
    area: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Notice {
    kind: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct TokenState {
    state: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Seats {
    series: String,
    state: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Series {
    series: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Key {
    series: String,
    key_no: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct SessionKeys {
    kind: &'static str,
    state: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct SessionKeyKind {
    kind: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Refresh {
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Parts {
    state: &'static str,
}

/// Which part of the server a request was for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Area {
    /// The REST API.
    Api,
    /// Components.
    Client,
    /// Pages and everything else.
    Console,
}

impl Area {
    /// The area of a path.
    pub fn of(path: &str) -> Self {
        if path == "/api" || path.starts_with("/api/") {
            Self::Api
        } else if path.starts_with("/client/") {
            Self::Client
        } else {
            Self::Console
        }
    }
}

const AREAS: [&str; 3] = ["api", "client", "console"];
const STATUSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// Counters and histograms of one server.
pub struct Metrics {
    registry: Registry,
    /// From a heartbeat that was read to its answer, in seconds.
    pub heartbeat: Histogram,
    /// From a wish for a seat that was read to its answer, in seconds; the disk is in it.
    pub open: Histogram,
    /// One transaction of the journal, in seconds.
    pub commit: Histogram,
    /// Records written.
    pub records: Counter,
    /// Wrong passwords and tokens.
    pub logins_failed: Counter,
    opened: Counter,
    denials: Family<Denial, Counter>,
    ended: Family<End, Counter>,
    /// By area and class of status; made once, so that a request looks nothing up.
    requests: [[Counter; 4]; 3],
    notices: Family<Notice, Counter>,
    tokens: Family<TokenState, Gauge>,
    token_troubles: Gauge,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Nothing counted yet, by a server that started at this moment.
    pub fn new(started: Utc) -> Self {
        let mut registry = Registry::default();
        let heartbeat = Histogram::new(BUCKETS);
        let open = Histogram::new(BUCKETS);
        let commit = Histogram::new(BUCKETS);
        let records = Counter::default();
        let logins_failed = Counter::default();
        let opened = Counter::default();
        let denials = Family::<Denial, Counter>::default();
        let ended = Family::<End, Counter>::default();
        let notices = Family::<Notice, Counter>::default();
        let tokens = Family::<TokenState, Gauge>::default();
        let token_troubles = Gauge::default();
        let by_status = Family::<Request, Counter>::default();
        let requests = AREAS.map(|area| {
            STATUSES.map(|status| by_status.get_or_create_owned(&Request { area, status }))
        });
        let began = Gauge::<f64, AtomicU64>::default();
        #[expect(clippy::cast_precision_loss, reason = "a moment of this millennium is exact")]
        began.set(started.unix_millis() as f64 / 1000.0);
        registry.register(
            "licence_build",
            "The program",
            Info::new(vec![("version".to_owned(), VERSION.to_owned())]),
        );
        registry.register("process_start_time_seconds", "Start of the server (Unix time)", began);
        registry.register("licence_heartbeat_seconds", "Answering a heartbeat", heartbeat.clone());
        registry.register("licence_open_seconds", "Answering a wish for a seat", open.clone());
        registry.register("licence_journal_commit_seconds", "One transaction", commit.clone());
        registry.register("licence_journal_records", "Records written", records.clone());
        registry.register("licence_logins_failed", "Wrong passwords", logins_failed.clone());
        registry.register("licence_sessions_opened", "Sessions opened", opened.clone());
        registry.register("licence_sessions_ended", "Sessions ended", ended.clone());
        registry.register("licence_denials", "Seats refused", denials.clone());
        registry.register("licence_notices", "Notices sent or given up", notices.clone());
        registry.register("licence_tokens", "USB tokens plugged in, by state", tokens.clone());
        registry.register(
            "licence_token_troubles",
            "What is wrong with USB tokens that are plugged in",
            token_troubles.clone(),
        );
        registry.register("licence_http_requests", "Requests answered", by_status);
        Self {
            registry,
            heartbeat,
            open,
            commit,
            records,
            logins_failed,
            opened,
            denials,
            ended,
            requests,
            notices,
            tokens,
            token_troubles,
        }
    }

    /// Takes down the tokens of this moment.
    pub fn note_tokens(&self, plugged: &[Plugged], troubles: usize) {
        let is_key = |token: &&Plugged| !token.is_blank() && token.presence == Presence::Present;
        let is_doubted = |token: &&Plugged| token.presence == Presence::InDoubt;
        for (state, count) in [
            ("blank", plugged.iter().filter(|token| token.is_blank()).count()),
            ("doubt", plugged.iter().filter(is_doubted).count()),
            ("key", plugged.iter().filter(is_key).count()),
        ] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.tokens.get_or_create(&TokenState { state }).set(count);
        }
        self.token_troubles.set(i64::try_from(troubles).unwrap_or(i64::MAX));
    }

    /// Counts an answered request.
    pub fn request(&self, area: Area, status: u16) {
        let class = usize::from(status / 100).clamp(2, 5) - 2;
        self.requests[area as usize][class].inc();
    }

    /// Counts a notice; `outcome` is `sent`, `failed` or `dropped`.
    pub fn notice(&self, kind: &str, outcome: &'static str) {
        self.notices.get_or_create(&Notice { kind: kind.to_owned(), outcome }).inc();
    }

    /// Counts what a turn brought about.
    #[expect(clippy::wildcard_enum_match_arm, reason = "these three are counted, whatever comes")]
    pub fn note(&self, records: &[Record]) {
        for record in records {
            match record {
                Record::Denied { series, class, .. } => {
                    let label = Denial { series: series.to_string(), reason: class };
                    self.denials.get_or_create(&label).inc();
                }
                Record::SessionClosed { reason, .. } => {
                    self.ended.get_or_create(&End { reason: reason.code() }).inc();
                }
                Record::SessionOpened { .. } => {
                    self.opened.inc();
                }
                _ => {}
            }
        }
    }

    /// Everything in the OpenMetrics text format, with the state of this moment.
    ///
    /// # Errors
    ///
    /// Never in practice: writing to a text cannot fail.
    pub fn scrape(
        &self,
        series: &[SeriesTotals],
        keys: &[LicenceView],
        binding: &Bound<'_>,
        ismp: Option<&IsmpFacts<'_>>,
        cluster: Option<&cluster::State>,
    ) -> Result<String, fmt::Error> {
        let mut text = String::with_capacity(16 * 1024);
        encode_registry(&mut text, &self.registry)?;
        encode_registry(&mut text, &gauges(series, keys, binding.judged.utc))?;
        encode_registry(&mut text, &bound(binding))?;
        if let Some(ismp) = ismp {
            encode_registry(&mut text, &session_keys(ismp))?;
        }
        if let Some(cluster) = cluster {
            encode_registry(&mut text, &cluster::gauges::registry(cluster))?;
        }
        encode_eof(&mut text)?;
        Ok(text)
    }
}

fn gauges(totals: &[SeriesTotals], keys: &[LicenceView], utc: Utc) -> Registry {
    let seats = Family::<Seats, Gauge>::default();
    let sessions = Family::<Series, Gauge>::default();
    let connections = Family::<Series, Gauge>::default();
    let usable = Family::<Key, Gauge>::default();
    let days = Family::<Key, Gauge<f64, AtomicU64>>::default();
    let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    for total in totals {
        let series = total.series.to_string();
        for (state, number) in [("total", total.total), ("used", total.used), ("free", total.free)]
        {
            let label = Seats { series: series.clone(), state };
            seats.get_or_create(&label).set(whole(number));
        }
        let label = Series { series };
        sessions.get_or_create(&label).set(whole(total.sessions as u64));
        connections.get_or_create(&label).set(whole(total.connections as u64));
    }
    for key in keys {
        let (Some(series), Some(key_no)) = (key.key_id, key.key_no) else { continue };
        let label = Key { series: series.to_string(), key_no: key_no.to_string() };
        usable.get_or_create(&label).set(i64::from(key.enabled));
        if let Some(end) = key.expire_date {
            #[expect(clippy::cast_precision_loss, reason = "days are shown, not counted with")]
            let left = (end.unix_millis() - utc.unix_millis()) as f64 / 86_400_000.0;
            days.get_or_create(&label).set(left);
        }
    }
    let mut registry = Registry::default();
    registry.register("licence_seats", "Seats of a series by state", seats);
    registry.register("licence_sessions", "Sessions, with a seat and without", sessions);
    registry.register("licence_connections", "Components connected", connections);
    registry.register("licence_key_usable", "1 when the key may be used", usable);
    registry.register("licence_key_expiry_days", "Days to the end of the key's term", days);
    registry
}

/// How the computer and the clock are.
#[derive(Clone, Copy, Debug)]
pub struct Bound<'a> {
    /// The seal and the parts.
    pub state: &'a SealState,
    /// The keys.
    pub judged: &'a Judged,
    /// A jump of the clock that is not believed.
    pub doubt: Option<Doubt>,
}

fn bound(found: &Bound<'_>) -> Registry {
    let parts = Family::<Parts, Gauge>::default();
    let days = Family::<Key, Gauge<f64, AtomicU64>>::default();
    let ahead = Gauge::<i64>::default();
    let whole = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    if let Match::Parts { matching, total } = found.state.found {
        let changed = total.saturating_sub(matching);
        for (state, number) in [("matching", matching), ("changed", changed)] {
            parts.get_or_create(&Parts { state }).set(whole(number));
        }
    }
    for key in &found.judged.keys {
        let until = match key.standing {
            Standing::Grace { until } | Standing::Over { since: until } => until,
            Standing::Fits { .. } | Standing::NeedsTpm => continue,
        };
        let label = Key { series: key.series.to_string(), key_no: key.key_no.to_string() };
        #[expect(clippy::cast_precision_loss, reason = "days are shown, not counted with")]
        let left = (until.unix_millis() - found.judged.utc.unix_millis()) as f64 / 86_400_000.0;
        days.get_or_create(&label).set(left);
    }
    ahead.set(found.doubt.map_or(0, |doubt| doubt.ahead_millis / 1000));
    let mut registry = Registry::default();
    registry.register("licence_binding_parts", "Parts of the computer by state", parts);
    if let Some(more) = found.judged.more() {
        let allowed = Gauge::<i64>::default();
        allowed.set(whole(more));
        registry.register("licence_binding_parts_allowed", "Parts that may still change", allowed);
    }
    registry.register("licence_binding_grace_days_left", "Days until the key stops", days);
    registry.register("licence_clock_ahead_seconds", "Clock ahead of the believed time", ahead);
    registry
}

/// How the session keys of ИС МП stand.
#[derive(Clone, Copy, Debug)]
pub struct IsmpFacts<'a> {
    /// Keys and refreshes.
    pub look: &'a Look,
    /// How sign-ins have ended.
    pub counts: Counts,
    /// On a reserve: seconds since the main server answered.
    pub replica_age_secs: Option<f64>,
    /// The moment of the scrape.
    pub utc: Utc,
}

fn session_keys(facts: &IsmpFacts<'_>) -> Registry {
    let keys = Family::<SessionKeys, Gauge>::default();
    let left = Family::<SessionKeyKind, Gauge<f64, AtomicU64>>::default();
    let refreshes = Family::<Refresh, Counter>::default();
    let refreshing = Gauge::<i64>::default();
    let whole = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    for kind in TokenKind::ALL {
        let of_kind = || facts.look.records.iter().filter(|record| record.key.kind == kind);
        let kind = kind.name();
        let state_of = |record: &RecordView| match record.state {
            _ if record.valid_until <= facts.utc => "ended",
            State::Doubtful => "doubtful",
            State::Valid => "valid",
        };
        for state in ["valid", "doubtful", "ended"] {
            let count = of_kind().filter(|record| state_of(record) == state).count();
            keys.get_or_create(&SessionKeys { kind, state }).set(whole(count));
        }
        if let Some(end) = of_kind().map(|record| record.valid_until).min() {
            #[expect(clippy::cast_precision_loss, reason = "seconds are shown, not counted with")]
            let secs = (end.unix_millis() - facts.utc.unix_millis()) as f64 / 1000.0;
            left.get_or_create(&SessionKeyKind { kind }).set(secs);
        }
    }
    let Counts { given, refused, unknown } = facts.counts;
    for (outcome, count) in [("given", given), ("refused", refused), ("unknown", unknown)] {
        refreshes.get_or_create(&Refresh { outcome }).inc_by(count);
    }
    refreshing.set(whole(facts.look.refreshing.len()));
    let mut registry = Registry::default();
    registry.register("licence_ismp_keys", "Session keys of ИС МП by state", keys);
    registry.register("licence_ismp_key_left_seconds", "Seconds to the earliest end", left);
    registry.register("licence_ismp_refreshes", "Sign-ins by outcome", refreshes);
    registry.register("licence_ismp_refreshing", "Refreshes under way", refreshing);
    if let Some(age) = facts.replica_age_secs {
        let gauge = Gauge::<f64, AtomicU64>::default();
        gauge.set(age);
        let help = "Seconds since the main server answered this reserve";
        registry.register("licence_ismp_replica_age_seconds", help, gauge);
    }
    registry
}

/// A journal whose transactions are measured.
pub struct Measured {
    inner: Box<dyn Journal>,
    commit: Histogram,
    records: Counter,
}

impl Measured {
    /// Measures this journal.
    pub fn new(inner: Box<dyn Journal>, metrics: &Metrics) -> Self {
        Self { inner, commit: metrics.commit.clone(), records: metrics.records.clone() }
    }
}

impl Journal for Measured {
    fn load(&mut self) -> Result<Snapshot, StoreError> {
        self.inner.load()
    }

    fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let watch = Stopwatch::start();
        let outcome = self.inner.commit(records);
        self.commit.observe(watch.seconds());
        self.records.inc_by(records.len() as u64);
        outcome
    }

    fn take_events(&mut self) -> Result<Vec<Event>, StoreError> {
        self.inner.take_events()
    }

    fn skip_events(&mut self) {
        self.inner.skip_events();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use licence_core::binding::{Binding, BindingLevel};
    use licence_core::identity_seal::Protection;
    use licence_core::key::{KeyNo, KeySeries};

    use super::*;
    use crate::binding::{Changes, KeyStanding};

    #[test]
    fn scrape_shows_what_was_counted_and_what_is() {
        let at: Utc = "2026-11-21T12:00:00Z".parse().unwrap();
        let metrics = Metrics::new(at);
        metrics.request(Area::of("/api/licences"), 200);
        metrics.request(Area::of("/client/v1/open"), 403);
        metrics.request(Area::of("/"), 200);
        metrics.heartbeat.observe(0.0002);
        metrics.note(&[Record::SessionClosed {
            id: licence_core::session::SessionId::from_bytes([1; 16]),
            reason: licence_core::session::EndReason::Revoked,
            at,
        }]);
        let totals = SeriesTotals {
            series: KeySeries::from_u16(0x672B),
            product_name: "x".into(),
            keys: 1,
            connections: 2,
            sessions: 3,
            total: 5,
            used: 3,
            free: 2,
        };
        let key = KeyStanding {
            key_no: KeyNo(7),
            series: KeySeries::from_u16(0x672B),
            binding: Binding { level: BindingLevel::Medium, grace_days: 14 },
            changed_at: Some(at),
            standing: Standing::Fits { more: Some(1) },
        };
        let graced = KeyStanding { standing: Standing::Grace { until: at.plus_days(3) }, ..key };
        let judged = |keys| Judged { utc: at, changes: Changes::default(), keys };
        let state = SealState {
            protection: Protection::Parts,
            found: Match::Parts { matching: 6, total: 7 },
            parts: Vec::new(),
            unreadable: Vec::new(),
            sealed_at: at,
        };
        let doubt = Doubt { since: at, showed: at, ahead_millis: 5000, stood: Duration::ZERO };
        let in_grace = judged(vec![key, graced]);
        let bound = Bound { state: &state, judged: &in_grace, doubt: Some(doubt) };
        let text = metrics.scrape(&[], &[], &bound, None, None).unwrap();
        assert!(!text.contains("licence_binding_parts_allowed "), "{text}");
        for line in [
            "licence_binding_grace_days_left{series=\"672B\",key_no=\"7\"} 3.0",
            "licence_clock_ahead_seconds 5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        let fits = judged(vec![key]);
        let bound = Bound { state: &state, judged: &fits, doubt: None };
        let text = metrics.scrape(&[totals], &[], &bound, None, None).unwrap();
        for line in [
            "licence_seats{series=\"672B\",state=\"used\"} 3",
            "licence_sessions{series=\"672B\"} 3",
            "licence_connections{series=\"672B\"} 2",
            "licence_sessions_ended_total{reason=\"revoked\"} 1",
            "licence_http_requests_total{area=\"client\",status=\"4xx\"} 1",
            "licence_heartbeat_seconds_bucket{le=\"0.00025\"} 1",
            "licence_build_info{version=\"4.0.0\"} 1",
            "licence_binding_parts{state=\"changed\"} 1",
            "licence_binding_parts{state=\"matching\"} 6",
            "licence_binding_parts_allowed 1",
            "licence_clock_ahead_seconds 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
