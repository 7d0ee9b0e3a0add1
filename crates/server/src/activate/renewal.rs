//! Renewal without a person: when the centres are asked for what is newer, and by whom.
//!
//! [`Renewal`] is a state machine: facts and the time in, whether to ask out. It reads no clock.
//! [`run`] looks every minute and asks; it never keeps a person's round from beginning in time, and a
//! centre that is away is logged once.

use std::sync::Arc;
use std::time::Duration;

use licence_core::key::KeyNo;
use licence_core::language::Language;
use licence_core::time::{MonoTime, Now, Utc};

use crate::access::Actor;
use crate::api::App;
use crate::api::errors::ApiError;
use crate::clock;

/// How often the facts are looked at: a setting that was changed counts a minute later.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How often the centres are asked: a renewal that the vendor makes is here the day after.
const PERIOD: Duration = Duration::from_secs(24 * 3600);

/// How often when a term ends within [`SOON_DAYS`]: four tries a day are left even on the last one.
const PERIOD_SOON: Duration = Duration::from_secs(6 * 3600);

/// Days before the end of a term from which on the centres are asked more often; as many days after
/// it a renewal that came late is still looked for so.
pub const SOON_DAYS: u32 = 14;

/// Days without a word of a centre after which that is told, when a term ends soon.
pub const SILENT_DAYS: u32 = 7;

/// Pause after a first failure; it doubles with each further one up to the period.
const RETRY: Duration = Duration::from_secs(3600);

/// Within this time after a start the first question comes: the servers of a site that begin to work
/// at one moment, after a power cut, do not ask at one moment.
const START_SPREAD: Duration = Duration::from_secs(15 * 60);

/// What a decision rests on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Facts {
    /// `[Common] AutoUpdate`.
    pub is_on: bool,
    /// Whether any key is installed: a server without one has nothing to renew.
    pub has_keys: bool,
    /// The end of a term that is closest to the present, before or after it.
    pub nearest_end: Option<Utc>,
    /// When a centre answered last, whoever asked it.
    pub answered: Option<Utc>,
}

/// When the centres are asked.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// Of this server: from 0 to 1, the same for one identity at all times.
    spread: f64,
    began: MonoTime,
    asked: Option<MonoTime>,
    failures: u32,
}

/// What became of a look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Looked {
    /// It was not the time.
    Early,
    /// Somebody's round was under way, or there is nobody to ask: tried again at the next look.
    Idle,
    /// The centres have answered.
    Done,
    /// They have not, or nothing of what they said could be used.
    Failed,
}

impl Renewal {
    /// For the identity with this digest, which has begun to work at `began`.
    pub fn new(digest: [u8; 4], began: MonoTime) -> Self {
        let spread = f64::from(u32::from_be_bytes(digest)) / f64::from(u32::MAX);
        Self { spread, began, asked: None, failures: 0 }
    }

    /// Whether to ask at this moment.
    pub fn is_due(&self, facts: &Facts, now: Now) -> bool {
        if !facts.is_on || !facts.has_keys {
            return false;
        }
        if now.mono.since(self.began) < START_SPREAD.mul_f64(self.spread) {
            return false;
        }
        let is_soon = facts.nearest_end.is_some_and(|end| {
            let millis = end.unix_millis().saturating_sub(now.utc.unix_millis());
            millis.unsigned_abs() <= u64::from(SOON_DAYS) * 86_400_000
        });
        let period = if is_soon { PERIOD_SOON } else { PERIOD };
        // Servers that were set up together drift apart by a quarter of the period.
        let period = period.mul_f64(0.875 + 0.25 * self.spread);
        let wait = match self.failures {
            0 => period,
            failures => RETRY.saturating_mul(1 << (failures - 1).min(10)).min(period),
        };
        if let Some(asked) = self.asked {
            return now.mono.since(asked) >= wait;
        }
        // Since a start. A moment in the future is of a clock that was wrong, and tells nothing.
        let age = facts.answered.map(|at| now.utc.unix_millis().saturating_sub(at.unix_millis()));
        let age = age.and_then(|millis| u64::try_from(millis).ok()).map(Duration::from_millis);
        age.is_none_or(|age| age >= period)
    }

    /// What became of a question that was asked at `now`; whether a failure is the first one.
    pub fn asked(&mut self, is_answered: bool, now: MonoTime) -> bool {
        self.asked = Some(now);
        self.failures = if is_answered { 0 } else { self.failures.saturating_add(1) };
        self.failures == 1
    }

    /// Looks at the server, and asks the centres when it is time to.
    pub async fn look(&mut self, app: &App, now: Now) -> Looked {
        let Some(facts) = facts(app, now.utc).await else { return Looked::Idle };
        if !self.is_due(&facts, now) {
            return Looked::Early;
        }
        let (actor, language) = (Actor::server(), Language::English);
        match app.activator.update_alone(&app.handle, &actor, language).await {
            Ok(None) => Looked::Idle,
            Ok(Some(updated)) => {
                self.asked(true, now.mono);
                if !updated.is_empty() {
                    app.forget_looks().await;
                }
                Looked::Done
            }
            Err(error) => {
                let level =
                    if self.asked(false, now.mono) { log::Level::Warn } else { log::Level::Debug };
                log::log!(level, "licences were not renewed, trying again later: {error}");
                Looked::Failed
            }
        }
    }
}

/// How things are; nothing when the driver has ended.
async fn facts(app: &App, utc: Utc) -> Option<Facts> {
    let is_on = app.settings.get().auto_update;
    if !is_on {
        return Some(Facts::default());
    }
    let keys = app.handle.licences(None, false).await.ok()?;
    let distance = |end: &Utc| end.unix_millis().abs_diff(utc.unix_millis());
    let ends = keys.iter().filter(|key| key.key_no.is_some()).filter_map(|key| key.expire_date);
    Some(Facts {
        is_on,
        has_keys: keys.iter().any(|key| key.key_no.is_some()),
        nearest_end: ends.min_by_key(distance),
        answered: app.activator.last_answer(),
    })
}

/// Keys whose term ends within [`SOON_DAYS`], or has ended as lately, and of whose centre nothing was
/// heard for [`SILENT_DAYS`]. A licence that was issued since, and came by file, is a word of the
/// centre too.
///
/// # Errors
///
/// See [`crate::driver::DriverError`].
pub async fn silent(app: &App, utc: Utc) -> Result<Vec<KeyNo>, ApiError> {
    let within = |at: Utc, days: u32| {
        at.unix_millis().abs_diff(utc.unix_millis()) <= u64::from(days) * 86_400_000
    };
    let mut silent = Vec::new();
    for key in app.handle.licences(None, false).await? {
        let (Some(key_no), Some(series), Some(end)) = (key.key_no, key.key_id, key.expire_date)
        else {
            continue;
        };
        if !key.workable || !within(end, SOON_DAYS) {
            continue;
        }
        let heard = app.activator.last_heard(&app.handle, series).await?;
        let issued = key.update_date.or(key.activation_date);
        let is_silent = ![heard, issued].into_iter().flatten().any(|at| within(at, SILENT_DAYS));
        // Without a centre there is nobody to hear: the check of the series tells.
        if is_silent && app.activator.page_of(&app.handle, Some(series)).await?.is_some() {
            silent.push(key_no);
        }
    }
    Ok(silent)
}

/// Looks until the server stops.
pub async fn run(app: Arc<App>) {
    let digest = licence_core::seal::sha256(app.activator.identity.public().as_bytes());
    let digest = [digest[0], digest[1], digest[2], digest[3]];
    let mut renewal = Renewal::new(digest, clock::mono());
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        renewal.look(&app, clock::now()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(hours: u64) -> Now {
        let span = HOUR * u32::try_from(hours).unwrap();
        Now {
            mono: MonoTime::from_millis(1_000_000).after(span),
            utc: Utc::from_unix_millis(1_800_000_000_000).after(span),
        }
    }

    /// In the middle of everything that is spread: the periods are whole.
    fn renewal() -> Renewal {
        Renewal::new([0x80, 0, 0, 0], at(0).mono)
    }

    fn facts() -> Facts {
        Facts { is_on: true, has_keys: true, ..Facts::default() }
    }

    /// The hours at which it asks, of so many; each question is answered as told.
    fn asked(renewal: &mut Renewal, facts: Facts, hours: u64, is_answered: bool) -> Vec<u64> {
        let mut all = Vec::new();
        for hour in 0..hours {
            if renewal.is_due(&facts, at(hour)) {
                renewal.asked(is_answered, at(hour).mono);
                all.push(hour);
            }
        }
        all
    }

    #[test]
    fn centres_are_asked_once_a_day() {
        assert_eq!(asked(&mut renewal(), facts(), 80, true), [1, 26, 51, 76]);
    }

    #[test]
    fn nobody_is_asked_when_it_is_off_or_there_is_no_key() {
        for facts in [Facts { is_on: false, ..facts() }, Facts { has_keys: false, ..facts() }] {
            assert_eq!(asked(&mut renewal(), facts, 80, true), [0u64; 0]);
        }
    }

    #[test]
    fn centres_are_asked_every_six_hours_around_the_end_of_a_term() {
        let end = |days: i64| Facts {
            nearest_end: Some(at(0).utc.plus_millis(days * 86_400_000)),
            ..facts()
        };
        for (days, times) in [(10, 12), (-10, 12), (30, 4), (-30, 4)] {
            let all = asked(&mut renewal(), end(days), 80, true);
            assert_eq!(all.len(), times, "{days}: {all:?}");
        }
    }

    #[test]
    fn failure_is_tried_again_after_an_hour_then_more_rarely_up_to_the_period() {
        let all = asked(&mut renewal(), facts(), 150, false);
        let pauses: Vec<_> = all.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 25, 25, 25, 25]);
    }

    #[test]
    fn only_the_first_failure_in_a_row_is_told() {
        let mut renewal = renewal();
        let told: Vec<_> = [false, false, true, false, false]
            .into_iter()
            .map(|is_answered| renewal.asked(is_answered, at(0).mono))
            .collect();
        assert_eq!(told, [true, false, false, true, false]);
    }

    #[test]
    fn server_that_is_started_often_asks_no_more_often() {
        let answered = |hours: i64| Facts {
            answered: Some(at(1).utc.plus_millis(-hours * 3_600_000)),
            ..facts()
        };
        assert!(!renewal().is_due(&answered(5), at(1)));
        assert!(renewal().is_due(&answered(30), at(1)));
        assert!(renewal().is_due(&answered(-1000), at(1)), "a clock that was wrong");
        assert!(!renewal().is_due(&answered(30), at(0)), "not at the moment of the start");
    }

    #[test]
    fn clock_of_the_calendar_that_is_set_back_stops_nothing() {
        let mut renewal = renewal();
        renewal.asked(true, at(1).mono);
        let now = Now { utc: Utc::from_unix_millis(0), ..at(27) };
        assert!(renewal.is_due(&Facts { answered: Some(at(1).utc), ..facts() }, now));
    }

    #[test]
    fn two_servers_ask_at_different_times() {
        let due = |digest| {
            let mut renewal = Renewal::new(digest, at(0).mono);
            renewal.asked(true, at(0).mono);
            (0..1800).find(|minute| {
                let now = Now { mono: at(0).mono.after(HOUR / 60 * *minute), utc: at(0).utc };
                renewal.is_due(&facts(), now)
            })
        };
        assert_eq!(due([0; 4]), Some(21 * 60));
        assert_eq!(due([255; 4]), Some(27 * 60));
    }
}
