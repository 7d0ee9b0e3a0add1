//! What is worth a notice: facts and the time in, notices out.
//!
//! Decides when something is told and when it was told already. Reads no clock, asks nobody and
//! sends nothing. What was told is forgotten at a restart, so a notice may come once more then.

mod session_keys;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use licence_core::key::{KeyNo, KeySeries};
use licence_core::time::{MonoTime, Utc};
use serde_json::{Value, json};

use crate::activate::EndedKey;

/// Use must fall so many points below the limit before it is told again: a value that trembles at
/// the limit is one notice.
const CALM_POINTS: u64 = 10;

/// After a refusal was told, those that follow are summed up for so long.
const DENIALS_EVERY: Duration = Duration::from_secs(15 * 60);

/// A reserve server is lost after so many failed looks in a row: one may be a lost packet.
const MISSES: u32 = 2;

/// Days before the end of a term at which it is told again, after the first time.
const LATE_DAYS: [i64; 3] = [7, 1, 0];

const DAY_MILLIS: i64 = 86_400_000;

/// What a notice is about; the code is published.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// Parts of the computer have changed, or a key stops for it soon or has stopped.
    Binding,
    /// The clock has jumped ahead and is not believed.
    Clock,
    /// A seat was refused.
    Denial,
    /// A key has ended at its centre without this server, and is gone here.
    Ended,
    /// This node of a cluster is in touch with etcd again.
    EtcdBack,
    /// This node of a cluster has lost etcd.
    EtcdLost,
    /// A key's term ends soon, or has ended.
    Expiry,
    /// The hardware is another than at the last start.
    Hardware,
    /// Another node of the cluster is back.
    NodeBack,
    /// Another node of the cluster has died.
    NodeLost,
    /// A reserve server answers again.
    ServerBack,
    /// A reserve server does not answer.
    ServerLost,
    /// A session key of ИС МП ends soon, and nobody refreshes it.
    SessionKey,
    /// The token of a key is plugged in again.
    TokenBack,
    /// The token of a key is not plugged in.
    TokenLost,
    /// Most seats of a series are held.
    Use,
}

impl Kind {
    /// The published code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Binding => "binding",
            Self::Clock => "clock",
            Self::Denial => "denial",
            Self::Ended => "ended",
            Self::EtcdBack => "etcd_back",
            Self::EtcdLost => "etcd_lost",
            Self::Expiry => "expiry",
            Self::Hardware => "hardware",
            Self::NodeBack => "node_back",
            Self::NodeLost => "node_lost",
            Self::ServerBack => "server_back",
            Self::ServerLost => "server_lost",
            Self::SessionKey => "session_key",
            Self::TokenBack => "token_back",
            Self::TokenLost => "token_lost",
            Self::Use => "use",
        }
    }
}

/// One thing to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// What it is about.
    pub kind: Kind,
    /// The series, if it is about one.
    pub series: Option<KeySeries>,
    /// The key, if it is about one.
    pub key_no: Option<KeyNo>,
    /// The text in Russian.
    pub russian: String,
    /// The text in English.
    pub english: String,
    /// Numbers for programs.
    pub details: Value,
}

/// Seats of one series.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SeriesUse {
    /// The series.
    pub series: KeySeries,
    /// Seats that there are.
    pub total: u64,
    /// Seats held.
    pub used: u64,
}

/// A key whose term has an end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeyEnd {
    /// Its series.
    pub series: KeySeries,
    /// Its number.
    pub key_no: KeyNo,
    /// The end of its term.
    pub ends: Utc,
}

/// A refusal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Denial {
    /// The series.
    pub series: KeySeries,
    /// Class of the refusal.
    pub reason: String,
    /// The refusal in English, with its class.
    pub text: String,
}

/// How things are.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Facts {
    /// Use of every series.
    pub series: Vec<SeriesUse>,
    /// Keys whose term has an end.
    pub keys: Vec<KeyEnd>,
    /// Reserve servers, and whether they answered.
    pub servers: Vec<(String, bool)>,
    /// Whether the hardware is another than at the last start.
    pub has_other_hardware: bool,
    /// Parts of the computer that have changed since it was sealed, and what is said of them in
    /// Russian and English.
    pub drift: Option<(usize, String, String)>,
    /// Keys for which too many have changed, with the moment from which they do not work.
    pub stopping: Vec<KeyEnd>,
    /// How many days the clock is ahead without being believed, and when it jumped.
    pub clock_ahead: Option<(i64, Utc)>,
    /// Keys that have ended without this server since the last look.
    pub ended: Vec<EndedKey>,
    /// Keys that are bound to tokens: series, number, and whether the token is there.
    pub tokens: Vec<(KeySeries, KeyNo, bool)>,
    /// Session keys of ИС МП that nobody refreshes: name and end.
    pub session_keys: Vec<(String, Utc)>,
}

/// What the settings say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// `UsePercent`; 0 is never.
    pub use_percent: u8,
    /// `ExpiryDays`; 0 is never.
    pub expiry_days: u32,
    /// `SessionKeyMinutes`; 0 is never.
    pub session_key_minutes: u32,
}

#[derive(Debug, Default)]
struct Denied {
    told: MonoTime,
    count: u64,
    last: Option<Denial>,
}

/// Remembers what was told.
#[derive(Debug, Default)]
pub struct Watcher {
    high: BTreeSet<KeySeries>,
    ends: BTreeMap<KeyNo, (Utc, i64)>,
    misses: BTreeMap<String, u32>,
    denied: BTreeMap<KeySeries, Denied>,
    has_told_hardware: bool,
    /// Changed parts that were told.
    drift: usize,
    /// The days of grace that were told last, for each key.
    stops: BTreeMap<KeyNo, (Utc, i64)>,
    clock_ahead: Option<Utc>,
    /// Keys whose missing tokens were told.
    missing: BTreeSet<KeyNo>,
    /// Session keys that were told, with the end of each.
    session_keys: BTreeMap<String, Utc>,
}

impl Watcher {
    /// Looks at how things are.
    pub fn look(&mut self, facts: &Facts, limits: Limits, now: MonoTime, utc: Utc) -> Vec<Notice> {
        let mut notices = Vec::new();
        self.look_at_use(facts, limits, &mut notices);
        self.look_at_terms(facts, limits, utc, &mut notices);
        self.look_at_servers(facts, &mut notices);
        notices.extend(facts.ended.iter().map(ended_notice));
        if facts.has_other_hardware && !self.has_told_hardware {
            notices.push(Notice {
                kind: Kind::Hardware,
                series: None,
                key_no: None,
                russian: "Оборудование сервера изменилось с последнего запуска.".to_owned(),
                english: "The server's hardware has changed since its last start.".to_owned(),
                details: json!({}),
            });
        }
        self.has_told_hardware = facts.has_other_hardware;
        self.look_at_binding(facts, utc, &mut notices);
        self.look_at_clock(facts, &mut notices);
        self.look_at_tokens(facts, &mut notices);
        self.look_at_session_keys(facts, limits, utc, &mut notices);
        self.sum_up_denials(now, &mut notices);
        notices
    }

    fn look_at_binding(&mut self, facts: &Facts, utc: Utc, notices: &mut Vec<Notice>) {
        let changed = facts.drift.as_ref().map_or(0, |(changed, ..)| *changed);
        if let Some((_, russian, english)) = &facts.drift
            && changed > self.drift
        {
            notices.push(Notice {
                kind: Kind::Binding,
                series: None,
                key_no: None,
                russian: russian.clone(),
                english: english.clone(),
                details: json!({"PartsChanged": changed}),
            });
        }
        self.drift = changed;
        self.stops.retain(|key_no, (ends, _)| {
            facts.stopping.iter().any(|key| key.key_no == *key_no && key.ends == *ends)
        });
        for key in &facts.stopping {
            let left = key.ends.unix_millis() - utc.unix_millis();
            let days = left.max(0).div_ceil_days();
            // The first time at once, then at each of the late steps.
            let steps = LATE_DAYS.into_iter();
            let reached = steps
                .filter(|step| if *step == 0 { left <= 0 } else { days <= *step })
                .min()
                .unwrap_or(i64::MAX);
            if self.stops.get(&key.key_no).is_some_and(|(_, told)| *told <= reached) {
                continue;
            }
            self.stops.insert(key.key_no, (key.ends, reached));
            let KeyEnd { series, key_no, ends } = key;
            let (russian, english) = if left <= 0 {
                (
                    format!(
                        "Ключ {key_no} серии {series} остановлен: компьютер изменился слишком сильно."
                    ),
                    format!(
                        "Key {key_no} of series {series} has stopped: the computer has changed too much."
                    ),
                )
            } else {
                (
                    format!(
                        "Ключ {key_no} серии {series} перестанет работать через дней: {days} — компьютер \
                         изменился слишком сильно."
                    ),
                    format!(
                        "Key {key_no} of series {series} stops in {days} days: the computer has changed \
                         too much."
                    ),
                )
            };
            notices.push(Notice {
                kind: Kind::Binding,
                series: Some(*series),
                key_no: Some(*key_no),
                russian,
                english,
                details: json!({"GraceDaysLeft": days, "GraceUntil": ends}),
            });
        }
    }

    fn look_at_clock(&mut self, facts: &Facts, notices: &mut Vec<Notice>) {
        let jumped = facts.clock_ahead.map(|(_, since)| since);
        if let Some((days, since)) = facts.clock_ahead
            && self.clock_ahead != Some(since)
        {
            notices.push(Notice {
                kind: Kind::Clock,
                series: None,
                key_no: None,
                russian: format!(
                    "Часы сервера ушли вперёд на дней: {days}. Проверьте время: пока оно не подтверждено, \
                     сроки ключей считаются по прежнему."
                ),
                english: format!(
                    "The server's clock has jumped {days} days ahead. Check the time: until it is \
                     confirmed, terms of keys are counted by the time before."
                ),
                details: json!({"DaysAhead": days}),
            });
        }
        self.clock_ahead = jumped;
    }

    fn look_at_use(&mut self, facts: &Facts, limits: Limits, notices: &mut Vec<Notice>) {
        let limit = u64::from(limits.use_percent);
        for at in &facts.series {
            let percent = (at.used * 100).checked_div(at.total).unwrap_or(0);
            if limit == 0 || percent + CALM_POINTS <= limit || at.total == 0 {
                self.high.remove(&at.series);
            } else if percent >= limit && self.high.insert(at.series) {
                let SeriesUse { series, total, used } = at;
                notices.push(Notice {
                    kind: Kind::Use,
                    series: Some(*series),
                    key_no: None,
                    russian: format!(
                        "Серия {series}: занято {used} из {total} лицензий ({percent} %)."
                    ),
                    english: format!(
                        "Series {series}: {used} of {total} seats are held ({percent} %)."
                    ),
                    details: json!({"Used": used, "Total": total, "Percent": percent}),
                });
            }
        }
        self.high.retain(|series| facts.series.iter().any(|at| at.series == *series));
    }

    fn look_at_terms(
        &mut self,
        facts: &Facts,
        limits: Limits,
        utc: Utc,
        notices: &mut Vec<Notice>,
    ) {
        let first = i64::from(limits.expiry_days);
        self.ends.retain(|key_no, (ends, _)| {
            facts.keys.iter().any(|key| key.key_no == *key_no && key.ends == *ends)
        });
        for key in &facts.keys {
            let left = key.ends.unix_millis() - utc.unix_millis();
            let days = left.max(0).div_ceil_days();
            // The lowest step that has been reached; 0 is the end itself.
            let reached = [first]
                .into_iter()
                .chain(LATE_DAYS)
                .filter(|step| *step <= first)
                .filter(|step| if *step == 0 { left <= 0 } else { days <= *step })
                .min();
            let Some(step) = reached.filter(|_| first > 0) else { continue };
            if self.ends.get(&key.key_no).is_some_and(|(_, told)| *told <= step) {
                continue;
            }
            self.ends.insert(key.key_no, (key.ends, step));
            let KeyEnd { series, key_no, ends } = key;
            let (russian, english) = if left <= 0 {
                (
                    format!("Ключ {key_no} серии {series}: срок действия истёк."),
                    format!("Key {key_no} of series {series}: its term is over."),
                )
            } else {
                (
                    format!("Ключ {key_no} серии {series}: до окончания срока дней: {days}."),
                    format!(
                        "Key {key_no} of series {series}: days to the end of its term: {days}."
                    ),
                )
            };
            notices.push(Notice {
                kind: Kind::Expiry,
                series: Some(*series),
                key_no: Some(*key_no),
                russian,
                english,
                details: json!({"DaysLeft": days, "ExpireDate": ends}),
            });
        }
    }

    fn look_at_servers(&mut self, facts: &Facts, notices: &mut Vec<Notice>) {
        self.misses.retain(|name, _| facts.servers.iter().any(|(known, _)| known == name));
        for (name, answers) in &facts.servers {
            let misses = self.misses.entry(name.clone()).or_default();
            let was_lost = *misses >= MISSES;
            *misses = if *answers { 0 } else { misses.saturating_add(1) };
            let is_lost = *misses >= MISSES;
            if is_lost == was_lost {
                continue;
            }
            let (kind, russian, english) = if is_lost {
                (
                    Kind::ServerLost,
                    format!("Резервный сервер {name} не отвечает."),
                    format!("The reserve server {name} does not answer."),
                )
            } else {
                (
                    Kind::ServerBack,
                    format!("Резервный сервер {name} снова отвечает."),
                    format!("The reserve server {name} answers again."),
                )
            };
            let details = json!({"Address": name});
            notices.push(Notice { kind, series: None, key_no: None, russian, english, details });
        }
    }

    /// Takes note of a refusal; the first one is told at once.
    pub fn denied(&mut self, denial: Denial, now: MonoTime) -> Option<Notice> {
        let series = denial.series;
        if let Some(known) = self.denied.get_mut(&series)
            && now.since(known.told) < DENIALS_EVERY
        {
            known.count += 1;
            known.last = Some(denial);
            return None;
        }
        self.denied.insert(series, Denied { told: now, count: 0, last: None });
        Some(denial_notice(&denial, 1))
    }

    fn sum_up_denials(&mut self, now: MonoTime, notices: &mut Vec<Notice>) {
        for denied in self.denied.values_mut() {
            if now.since(denied.told) >= DENIALS_EVERY
                && let Some(last) = denied.last.take()
            {
                notices.push(denial_notice(&last, denied.count));
                *denied = Denied { told: now, count: 0, last: None };
            }
        }
    }
}

fn ended_notice(key: &EndedKey) -> Notice {
    let EndedKey { key_no, series } = *key;
    Notice {
        kind: Kind::Ended,
        series: Some(series),
        key_no: Some(key_no),
        russian: format!(
            "Ключ {key_no} серии {series} прекратил действие в центре лицензирования (запасной код или \
             разработчик) и удалён с этого сервера."
        ),
        english: format!(
            "Key {key_no} of series {series} has ended at its activation centre (a spare code, or the \
             vendor) and is gone from this server."
        ),
        details: json!({}),
    }
}

fn denial_notice(denial: &Denial, count: u64) -> Notice {
    let Denial { series, reason, text } = denial;
    Notice {
        kind: Kind::Denial,
        series: Some(*series),
        key_no: None,
        russian: format!("Серия {series}: отказов в лицензии: {count}. Последний: {text}."),
        english: format!("Series {series}: seats refused: {count}. The last one: {text}."),
        details: json!({"Count": count, "Reason": reason}),
    }
}

trait Days {
    fn div_ceil_days(self) -> i64;
}

impl Days for i64 {
    /// Milliseconds as days, begun ones whole.
    fn div_ceil_days(self) -> i64 {
        self / DAY_MILLIS + Self::from(self % DAY_MILLIS > 0)
    }
}

#[cfg(test)]
mod tests;
